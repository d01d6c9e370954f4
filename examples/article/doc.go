// Package article is "Building a Simple Future Executor with Custom Waker" in Go and in C: each example of the article, in
// its order and under its name. Run them all, with what each of them costs:
//
//	go run ./cmd/wakelab
//
// To read along: [DummyRawWaker], [DummyWaker] and [BlockOn] are the article's first program, with [Simple] to run on it.
// [SimpleFuture] is the state machine that the compiler makes of it; [TimerFuture] shows how a future uses its waker;
// [DelayFuture], [DelayAndReturn] and [CountdownFuture] are the practical ones; [SleepForReal] and [ReadFile] are what the
// simple executor cannot do, and package blockon can; [Executor] is the one with tasks and [CreateWakerForTask].
//
// Rust and Go, side by side:
//
//	Waker::from_raw(raw)               rawwaker.FromRaw(raw)
//	Context::from_waker(&waker)        rawwaker.NewContext(waker)
//	std::pin::pin!(future)             nothing: Go's values do not move
//	fn poll(self: Pin<&mut Self>, cx)  func (f *T) Poll(cx *rawwaker.Context) rawwaker.Poll[V]
//	Poll::Ready(42)                    rawwaker.Ready(42)
//	Poll::Pending                      rawwaker.Pending[int]()
//	cx.waker().wake_by_ref()           cx.Waker().WakeByRef()
//	async fn                           future.Async(func(aw *future.Awaiter) V { ... })
//	f.await                            future.Await(aw, f)
//
// The same in C is article.c, which is also a program of its own: its first lines say how to build it. [CSimple] and the
// other names in C run it from Go.
package article
