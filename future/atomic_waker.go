package future

import "github.com/seed-8a1b3254/ffiwaker/rawwaker"

// AtomicWaker keeps the waker of a future's latest poll. It is [rawwaker.AtomicWaker].
type AtomicWaker = rawwaker.AtomicWaker
