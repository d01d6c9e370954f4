//go:build !unix

package main

import "github.com/seed-8a1b3254/ffiwaker/rawwaker"

func (l *longLife) readable(*rawwaker.Context) {}
