package future

import "github.com/seed-8a1b3254/ffiwaker/rawwaker"

// AtomicWaker is where a future keeps the waker of its latest poll: [rawwaker.AtomicWaker].
type AtomicWaker = rawwaker.AtomicWaker
