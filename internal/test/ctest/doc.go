// Package ctest is what the tests have on the C side: wakers that count and log, threads unknown to Go that use wakers,
// and a future of C that keeps a waker. It is empty in a build without cgo.
package ctest
