//go:build !cgo

package main

import "fmt"

func main() { fmt.Println("await: build it with cgo") }
