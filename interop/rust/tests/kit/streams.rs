//! Rust's streams as the kit sees them, through `stream_into_raw`.

use std::ffi::c_long;
use std::mem::size_of;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use ffiwaker::{stream_into_raw, ForeignStream};
use futures::stream::{self, FuturesOrdered, Stream, StreamExt};

use crate::sys::{Arg, TestStream};

static ITEMS: [u64; 5] = [11, 12, 13, 14, 15];

/// What produces the next item: its argument is the item, or `None` for the end.
type Produce = Box<dyn FnMut(Option<u64>) + Send>;

struct Producer {
    produce: Mutex<(Produce, usize)>,
    held: Arc<()>, // the stream holds the other reference
}

unsafe extern "C" fn produce(arg: Arg) {
    // SAFETY: arg is a Producer until free, here and below.
    let mut p = unsafe { (*arg.cast::<Producer>()).produce.lock().unwrap() };
    let (produce, next) = &mut *p;
    produce(ITEMS.get(*next).copied());
    *next += 1;
}
unsafe extern "C" fn live(arg: Arg) -> c_long {
    // SAFETY: as above.
    unsafe { Arc::strong_count(&(*arg.cast::<Producer>()).held) as c_long - 1 }
}
unsafe extern "C" fn free(arg: Arg) {
    // SAFETY: as above. The kit calls it once, after every other function.
    drop(unsafe { Box::from_raw(arg.cast::<Producer>()) });
}

/// A stream that gives ITEMS as `next` makes them available, of which `ahead` fit in it.
fn produced<S>(s: S, ahead: usize, next: impl FnMut(Option<u64>) + Send + 'static) -> TestStream
where
    S: Stream<Item = u64> + Send + 'static,
{
    let held = Arc::new(());
    let its = held.clone();
    let stream = stream_into_raw(s.inspect(move |_| _ = &its));
    let produce_next: Produce = Box::new(next);
    let producer = Producer { produce: Mutex::new((produce_next, 0)), held };
    TestStream {
        stream,
        arg: Box::into_raw(Box::new(producer)).cast(),
        size: size_of::<u64>(),
        items: ITEMS.as_ptr().cast(),
        count: ITEMS.len(),
        produce: Some(produce),
        ahead,
        live: Some(live),
        free: Some(free),
        lingers: false,
    }
}

/// All of ITEMS and the end.
const ALL: usize = ITEMS.len() + 1;

pub fn tokio_mpsc() -> TestStream {
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
    let mut tx = Some(tx);
    produced(stream::poll_fn(move |cx| rx.poll_recv(cx)), ALL, move |v| match v {
        Some(v) => _ = tx.as_ref().expect("not ended").send(v),
        None => tx = None,
    })
}
pub fn tokio_mpsc_bounded() -> TestStream {
    let (tx, mut rx) = tokio::sync::mpsc::channel(1);
    let mut tx = Some(tx);
    produced(stream::poll_fn(move |cx| rx.poll_recv(cx)), 1, move |v| match v {
        Some(v) => _ = tx.as_ref().expect("not ended").try_send(v),
        None => tx = None,
    })
}
pub fn futures_ordered() -> TestStream {
    let (txs, all): (Vec<_>, FuturesOrdered<_>) =
        (0..ALL).map(|_| tokio::sync::oneshot::channel::<Option<u64>>()).unzip();
    let mut txs = txs.into_iter();
    let items = all.map(|v| v.unwrap()).take_while(|v| std::future::ready(v.is_some()));
    let items = items.map(|v| v.expect("it ends before that"));
    produced(items, ALL, move |v| _ = txs.next().expect("one for each").send(v))
}
pub fn there_and_back() -> TestStream {
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
    let inner = stream_into_raw(stream::poll_fn(move |cx| rx.poll_recv(cx)));
    // SAFETY: inner is a stream of u64, and no other code uses it.
    let foreign = unsafe { ForeignStream::<u64>::from_raw(inner) };
    let mut tx = Some(tx);
    produced(foreign, ALL, move |v| match v {
        Some(v) => _ = tx.as_ref().expect("not ended").send(v),
        None => tx = None,
    })
}

// --------------------------------------------------------------------------------- faulty streams

#[derive(Default)]
struct Shared {
    items: Vec<Option<u64>>,
    waker: Option<Waker>,
}

struct KeepsTheFirst(Arc<Mutex<Shared>>);

impl Stream for KeepsTheFirst {
    type Item = u64;
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<u64>> {
        let mine = cx.waker().clone();
        let mut s = self.0.lock().unwrap();
        if s.items.is_empty() {
            s.waker.get_or_insert(mine);
            return Poll::Pending;
        }
        Poll::Ready(s.items.remove(0))
    }
}
impl Drop for KeepsTheFirst {
    fn drop(&mut self) {
        let kept = self.0.lock().unwrap().waker.take();
        drop(kept);
    }
}

pub fn keeps_the_first_waker() -> TestStream {
    let shared = Arc::<Mutex<Shared>>::default();
    produced(KeepsTheFirst(shared.clone()), ALL, move |v| {
        let waker = {
            let mut s = shared.lock().unwrap();
            s.items.push(v);
            s.waker.take()
        };
        if let Some(w) = waker {
            w.wake();
        }
    })
}
pub fn loses_an_item() -> TestStream {
    let (tx, rx) = futures::channel::mpsc::unbounded();
    let mut tx = Some(tx);
    let some = rx.filter(|v| std::future::ready(*v != ITEMS[2]));
    produced(some, ALL, move |v| match v {
        Some(v) => _ = tx.as_ref().expect("not ended").unbounded_send(v),
        None => tx = None,
    })
}
