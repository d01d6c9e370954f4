// Package article is "Building a Simple Future Executor with Custom Waker" in Go and in C.
//
// It has each example of the article under its name. Run them all, and measure what each costs:
//
//	go run ./cmd/wakelab
//
// In the order of the article: [DummyRawWaker], [DummyWaker] and [BlockOn] are its first program,
// which runs [Simple]. [SimpleFuture] is the state machine that the compiler makes of Simple.
// [TimerFuture] shows how a future uses its waker. [DelayFuture], [DelayAndReturn] and
// [CountdownFuture] are the practical examples. [SleepForReal] and [ReadFile] need more than the
// simple executor; package blockon runs them. [Executor] is the executor with tasks and
// [CreateWakerForTask].
//
// Rust and Go, side by side:
//
//	Waker::from_raw(raw)               rawwaker.FromRaw(raw)
//	Context::from_waker(&waker)        rawwaker.NewContext(waker)
//	std::pin::pin!(future)             nothing: a Go value on the heap does not move
//	fn poll(self: Pin<&mut Self>, cx)  func (f *T) Poll(cx *rawwaker.Context) rawwaker.Poll[V]
//	Poll::Ready(42)                    rawwaker.Ready(42)
//	Poll::Pending                      rawwaker.Pending[int]()
//	cx.waker().wake_by_ref()           cx.Waker().WakeByRef()
//	async fn                           future.Async(func(aw *future.Awaiter) V { ... })
//	f.await                            future.Await(aw, f)
//
// article.c has the same examples in C. It is also a program of its own: its first lines show how
// to build it. [CSimple] and the other functions that begin with C run its examples from Go.
package article
