//go:build cgo

package main

// Test functions cannot use cgo, so Example calls main.
func Example() {
	main()
	// Output: Result: 42 <nil>
}
