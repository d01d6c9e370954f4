// Package ffiwaker embeds the two C files of the library; Go programs import the packages below it.
//
//   - [rawwaker] to make, keep and wake wakers, to write futures, and to take both to C and back
//   - [blockon] to wait for one future in a goroutine
//   - [executor] to run many futures as tasks, on worker goroutines or in the loop of a host
//   - [future] for ready-made futures, combinators, async and await
//   - [wakertest] to test a waker, future or executor against the contract in rawwaker.h
//   - [audit] to link the C auditor into a C program; Go tests want wakertest.Audit
//   - [channel] to link the C channel, whose receiving end is a stream, into a Go program
//
// A C program that has no Go in it copies rawwaker.h and rawwaker.c and needs nothing else.
//
// [rawwaker]: https://pkg.go.dev/github.com/seed-8a1b3254/ffiwaker/rawwaker
// [blockon]: https://pkg.go.dev/github.com/seed-8a1b3254/ffiwaker/blockon
// [executor]: https://pkg.go.dev/github.com/seed-8a1b3254/ffiwaker/executor
// [future]: https://pkg.go.dev/github.com/seed-8a1b3254/ffiwaker/future
// [wakertest]: https://pkg.go.dev/github.com/seed-8a1b3254/ffiwaker/wakertest
// [audit]: https://pkg.go.dev/github.com/seed-8a1b3254/ffiwaker/audit
// [channel]: https://pkg.go.dev/github.com/seed-8a1b3254/ffiwaker/channel
package ffiwaker

import "embed"

// Sources holds rawwaker.h and rawwaker.c, the two files that a C program copies.
//
// Embedding them has a second purpose. The build cache does not see an edit of a header that a
// cgo package includes from another folder (golang/go#24355), and go mod vendor leaves such a
// header out, unless the package imports the package that embeds it.
//
//go:embed rawwaker.h rawwaker.c
var Sources embed.FS

// hosts/ cannot be a Go package, because it holds C programs. So its header is embedded here, for
// hosts/archive, which includes it.
//
//go:embed hosts/ffiwaker.h
var _ string

// ABIVersion is RAWWAKER_ABI_VERSION of the embedded header.
const ABIVersion = 1
