//! The declarations of `rawwaker_test.h`, and how a Rust object provides its functions.

use std::ffi::{c_char, c_int, c_long, c_void};

use ffiwaker::{RawFuture, RawStream, RawWaker};

pub type Arg = *mut c_void;

/// A function that the kit asks to call.
#[derive(Clone, Copy)]
pub struct Call {
    f: unsafe extern "C" fn(Arg),
    with: Arg,
}

// SAFETY: the kit lets any thread call its functions.
unsafe impl Send for Call {}

impl Call {
    fn new(f: Option<unsafe extern "C" fn(Arg)>, with: Arg) -> Option<Call> {
        f.map(|f| Call { f, with })
    }
    pub fn call(self) {
        // SAFETY: the kit keeps what with points to until the call returns.
        unsafe { (self.f)(self.with) }
    }
}

#[repr(C)]
pub struct TestWaker {
    pub waker: RawWaker,
    pub arg: Arg,
    pub wakes: unsafe extern "C" fn(Arg) -> usize,
    pub live: Option<unsafe extern "C" fn(Arg) -> c_long>,
    pub poll: Option<unsafe extern "C" fn(Arg, Option<unsafe extern "C" fn(Arg)>, Arg)>,
    pub on_wake: Option<unsafe extern "C" fn(Arg, Option<unsafe extern "C" fn(Arg)>, Arg)>,
    pub end: Option<unsafe extern "C" fn(Arg)>,
    pub free: Option<unsafe extern "C" fn(Arg)>,
    pub exact: bool,
}

#[repr(C)]
pub struct TestFuture {
    pub future: RawFuture,
    pub arg: Arg,
    pub size: usize,
    pub complete: Option<unsafe extern "C" fn(Arg)>,
    pub live: Option<unsafe extern "C" fn(Arg) -> c_long>,
    pub free: Option<unsafe extern "C" fn(Arg)>,
    pub lingers: bool,
}

#[repr(C)]
pub struct TestStream {
    pub stream: RawStream,
    pub arg: Arg,
    pub size: usize,
    pub items: *const c_void,
    pub count: usize,
    pub produce: Option<unsafe extern "C" fn(Arg)>,
    pub ahead: usize,
    pub live: Option<unsafe extern "C" fn(Arg) -> c_long>,
    pub free: Option<unsafe extern "C" fn(Arg)>,
    pub lingers: bool,
}

#[repr(C)]
pub struct TestExecutor {
    pub arg: Arg,
    pub spawn: unsafe extern "C" fn(Arg, RawFuture),
    pub run: unsafe extern "C" fn(Arg),
    pub close: Option<unsafe extern "C" fn(Arg)>,
    pub spawn_inside: bool,
}

#[repr(C)]
pub struct Rule {
    pub name: *const c_char,
    pub rule: *const c_char,
}

extern "C" {
    pub fn rawwaker_test_wakers(
        name: *const c_char,
        make: unsafe extern "C" fn(Arg) -> TestWaker,
        arg: Arg,
    ) -> c_int;
    pub fn rawwaker_test_futures(
        name: *const c_char,
        make: unsafe extern "C" fn(Arg) -> TestFuture,
        arg: Arg,
    ) -> c_int;
    pub fn rawwaker_test_streams(
        name: *const c_char,
        make: unsafe extern "C" fn(Arg) -> TestStream,
        arg: Arg,
    ) -> c_int;
    pub fn rawwaker_test_executors(
        name: *const c_char,
        make: unsafe extern "C" fn(Arg) -> TestExecutor,
        arg: Arg,
    ) -> c_int;
    pub fn rawwaker_test_waker_rules() -> *const Rule;
    pub fn rawwaker_test_future_rules() -> *const Rule;
    pub fn rawwaker_test_stream_rules() -> *const Rule;
    pub fn rawwaker_test_executor_rules() -> *const Rule;
    pub fn rawwaker_from_fn(
        wake: unsafe extern "C" fn(Arg),
        arg: Arg,
        drop: Option<unsafe extern "C" fn(Arg)>,
    ) -> RawWaker;
}

/// What a task shows to the kit. For each false, the function is NULL, and the kit skips the
/// scenarios that need it.
#[derive(Clone, Copy, Default)]
pub struct Shows {
    pub live: bool,
    pub poll: bool,
    pub on_wake: bool,
    pub end: bool,
    pub exact: bool,
}

/// The task behind a waker: the functions of `rawwaker_test_waker`.
pub trait Task: Sync + Sized + 'static {
    fn wakes(&self) -> usize;
    fn live(&self) -> usize {
        unreachable!("the task does not show this")
    }
    fn poll(&self, _during: Option<Call>) {
        unreachable!("the task does not show this")
    }
    fn on_wake(&self, _f: Option<Call>) {
        unreachable!("the task does not show this")
    }
    fn end(&self) {
        unreachable!("the task does not show this")
    }
    /// Called when the kit holds no reference any more. An error names what is left by mistake.
    fn free(self) -> Result<(), String> {
        Ok(())
    }
}

/// A panic in any of these aborts, which the kit reports as a failure of the scenario.
impl TestWaker {
    pub fn new<T: Task>(waker: RawWaker, task: T, shows: Shows) -> TestWaker {
        unsafe extern "C" fn wakes<T: Task>(arg: Arg) -> usize {
            // SAFETY: arg is the T below until free, here and in the functions that follow.
            unsafe { (*arg.cast::<T>()).wakes() }
        }
        unsafe extern "C" fn live<T: Task>(arg: Arg) -> c_long {
            // SAFETY: as above.
            unsafe { (*arg.cast::<T>()).live() as c_long }
        }
        unsafe extern "C" fn poll<T: Task>(
            arg: Arg,
            f: Option<unsafe extern "C" fn(Arg)>,
            with: Arg,
        ) {
            // SAFETY: as above.
            unsafe { (*arg.cast::<T>()).poll(Call::new(f, with)) }
        }
        unsafe extern "C" fn on_wake<T: Task>(
            arg: Arg,
            f: Option<unsafe extern "C" fn(Arg)>,
            with: Arg,
        ) {
            // SAFETY: as above.
            unsafe { (*arg.cast::<T>()).on_wake(Call::new(f, with)) }
        }
        unsafe extern "C" fn end<T: Task>(arg: Arg) {
            // SAFETY: as above.
            unsafe { (*arg.cast::<T>()).end() }
        }
        unsafe extern "C" fn free<T: Task>(arg: Arg) {
            // SAFETY: as above. The kit calls free once, after every other function.
            let task = unsafe { Box::from_raw(arg.cast::<T>()) };
            if let Err(amiss) = task.free() {
                eprintln!("# {amiss}");
                std::process::abort();
            }
        }
        TestWaker {
            waker,
            arg: Box::into_raw(Box::new(task)).cast(),
            wakes: wakes::<T>,
            live: shows.live.then_some(live::<T>),
            poll: shows.poll.then_some(poll::<T>),
            on_wake: shows.on_wake.then_some(on_wake::<T>),
            end: shows.end.then_some(end::<T>),
            free: Some(free::<T>),
            exact: shows.exact,
        }
    }
}
