//go:build !cgo || !linux

package main

import (
	"errors"
	"io"
)

// This build renders and checks RESULTS.md, and measures nothing.

var errNoCgo = errors.New("measuring needs linux and cgo: many figures are calls between C and Go")

func runChild() bool { return false }

func figures() []figure { return nil }

func measureFigures(options, string, io.Writer) (*results, error) { return nil, errNoCgo }

func measureCurves(string) (*curves, error) { return nil, errNoCgo }
