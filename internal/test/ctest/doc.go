// Package ctest holds C fixtures for the Go tests: wakers, futures, and threads unknown to Go.
//
// It is empty in a build without cgo.
package ctest
