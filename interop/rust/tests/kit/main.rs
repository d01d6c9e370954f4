//! Checks Rust's own wakers, futures, streams and executors with the conformance kit in C (`wakertest/c`).
//! Each subject runs in a process of its own, because the kit ends its process if a call does not
//! return:
//!
//!     cargo test --test kit -- --nocapture
//!
//! prints the kit's TAP. The tables below list, for each subject, the scenarios that it cannot show
//! and the ones that it fails, each with the reason. Any other skipped or failed scenario fails the
//! test, and so does one from the tables that passes.
#![cfg(not(miri))] // Miri calls no foreign function

mod executors;
mod faulty;
mod futures;
mod streams;
mod sys;
mod wakers;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{c_int, CStr, CString};
use std::fmt::Display;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, OnceLock};

use faulty::{faulty, Fault};
use kitfixture as _; // links the kit
use sys::{Arg, Rule, Shows, TestExecutor, TestFuture, TestStream, TestWaker};
use wakers::{driven, Way, DRIVEN, MARK, MARKED};

/// Counts the blocks of memory that hold a runtime's task, which only the runtime can free.
struct Marking;

// SAFETY: System does the work.
unsafe impl GlobalAlloc for Marking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() == MARK {
            MARKED.fetch_add(1, SeqCst);
        }
        // SAFETY: the caller promised it.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        if layout.align() == MARK {
            MARKED.fetch_sub(1, SeqCst);
        }
        // SAFETY: the caller promised it.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Marking = Marking;

// ------------------------------------------------------------------------------------ the subjects

type Reasons = &'static [(&'static str, &'static str)];

struct Subject {
    name: String,
    run: Box<dyn Fn(&CStr) -> c_int>,
    skips: Vec<Reasons>,
    fails: Reasons,
    seconds: &'static str,
}

impl Subject {
    fn skips(mut self, these: Reasons) -> Subject {
        self.skips.push(these);
        self
    }
    /// Sets the scenarios that must fail, and shortens the wait for each.
    fn fails(mut self, these: Reasons) -> Subject {
        self.fails = these;
        self.seconds = "2";
        self
    }
}

fn subject(name: String, run: impl Fn(&CStr) -> c_int + 'static) -> Subject {
    Subject { name, run: Box::new(run), skips: Vec::new(), fails: &[], seconds: "5" }
}

fn a_waker(name: impl Display, make: impl Fn() -> TestWaker + 'static) -> Subject {
    unsafe extern "C" fn call<F: Fn() -> TestWaker>(make: Arg) -> TestWaker {
        // SAFETY: make is the F below, alive until the kit returns, here and in the next two.
        unsafe { (*make.cast::<F>())() }
    }
    fn run<F: Fn() -> TestWaker>(name: &CStr, make: &F) -> c_int {
        // SAFETY: call casts the argument back to the same type.
        unsafe {
            sys::rawwaker_test_wakers(
                name.as_ptr(),
                call::<F>,
                (&raw const *make).cast_mut().cast(),
            )
        }
    }
    subject(format!("waker: {name}"), move |name| run(name, &make))
}
fn a_future(name: impl Display, make: fn() -> TestFuture) -> Subject {
    unsafe extern "C" fn call(make: Arg) -> TestFuture {
        // SAFETY: as above.
        unsafe { (*make.cast::<fn() -> TestFuture>())() }
    }
    // SAFETY: call casts the argument back to the same type.
    subject(format!("future: {name}"), move |name| unsafe {
        sys::rawwaker_test_futures(name.as_ptr(), call, (&raw const make).cast_mut().cast())
    })
}
fn a_stream(name: impl Display, make: fn() -> TestStream) -> Subject {
    unsafe extern "C" fn call(make: Arg) -> TestStream {
        // SAFETY: as above.
        unsafe { (*make.cast::<fn() -> TestStream>())() }
    }
    // SAFETY: call casts the argument back to the same type.
    subject(format!("stream: {name}"), move |name| unsafe {
        sys::rawwaker_test_streams(name.as_ptr(), call, (&raw const make).cast_mut().cast())
    })
}
fn an_executor(name: impl Display, make: fn() -> TestExecutor) -> Subject {
    unsafe extern "C" fn call(make: Arg) -> TestExecutor {
        // SAFETY: as above.
        unsafe { (*make.cast::<fn() -> TestExecutor>())() }
    }
    // SAFETY: call casts the argument back to the same type.
    subject(format!("executor: {name}"), move |name| unsafe {
        sys::rawwaker_test_executors(name.as_ptr(), call, (&raw const make).cast_mut().cast())
    })
}

const NO_HOOK: Reasons = &[
    ("drop_inside_wake", "no code of this test runs inside its wakes"),
    ("clone_inside_wake", "the same"),
];
const NO_POLL: Reasons = &[
    ("wakes_publish", "this test cannot ask for a poll"),
    ("wake_during_the_poll", "the same"),
    ("wake_after_the_poll", "the same"),
    ("slots_under_a_lock", "the same"),
];
const NO_END: Reasons = &[("wake_after_the_end", "this test cannot ask for its end")];
const NO_TASK: &str = "it has no task, so no wake is noticed";

/// Each of them in the three ways.
fn wakers_of_rust() -> Vec<Subject> {
    let mut all = Vec::new();
    for way in [Way::Each, Way::Crate, Way::Back] {
        let named = |name: &str| match way {
            Way::Each => name.to_string(),
            Way::Crate => format!("{name}, by waker_into_raw"),
            Way::Back => format!("{name}, by waker_from_raw"),
        };
        all.push(a_waker(named("std, Arc<impl Wake>"), move || wakers::std_wake(way)));
        all.push(
            a_waker(named("std, each wake counted"), move || wakers::std_wake_exact(way))
                .skips(NO_POLL),
        );
        all.push(a_waker(named("futures, ArcWake"), move || wakers::arc_wake(way)));
        all.push(a_waker(named("a box of C"), move || wakers::boxed(way)).skips(NO_POLL));
        all.push(a_waker(named("async-task"), move || wakers::async_task_held(way)));
        let detached =
            a_waker(named("async-task, detached"), move || wakers::async_task_detached(way));
        all.push(detached.skips(NO_POLL).skips(NO_END).fails(&[(
            "drop_wakes_nobody",
            "the last waker of a detached task schedules it once more, so that its executor drops \
             the future; no poll follows",
        )]));
        all.push(
            runtime(named("tokio, current thread"), wakers::TokioHere::new, way, DRIVEN)
                .skips(NO_HOOK),
        );
        all.push(
            runtime(named("tokio, two threads"), wakers::TokioThreads::new, way, DRIVEN)
                .skips(NO_HOOK),
        );
        all.push(runtime(named("async-executor"), wakers::Smol::new, way, DRIVEN).skips(NO_HOOK));
        all.push(
            runtime(named("futures, ThreadPool"), wakers::Pool::new, way, DRIVEN).skips(NO_HOOK),
        );
        let shows = Shows { on_wake: true, ..DRIVEN };
        all.push(runtime(named("futures, FuturesUnordered"), wakers::Unordered::new, way, shows));
    }
    let mut noop = a_waker("std, Waker::noop", || wakers::noop(Way::Crate))
        .skips(NO_POLL)
        .skips(NO_HOOK)
        .fails(&[
            ("clone_is_a_reference", NO_TASK),
            ("clone_may_change_data", NO_TASK),
            ("wake_consumes", NO_TASK),
            ("wake_by_ref_borrows", NO_TASK),
            ("wakes_coalesce", NO_TASK),
            ("wake_before_the_poll", NO_TASK),
            ("storm", NO_TASK),
            ("will_wake", NO_TASK),
            ("unknown_thread", NO_TASK),
        ]);
    noop.seconds = "0.4";
    all.push(noop);
    all
}

/// The runtime, with its threads, is created in the child process, where it is needed.
fn runtime<R: wakers::Runtime>(
    name: String,
    new: fn() -> Arc<R>,
    way: Way,
    shows: Shows,
) -> Subject {
    let one = OnceLock::new();
    a_waker(name, move || driven(one.get_or_init(new), way, shows))
}

fn futures_of_rust() -> Vec<Subject> {
    const KEPT_BY_THE_CHANNEL: &str =
        "a dropped receiver leaves its waker in the channel, until the last sender is dropped";
    const NO_COMPLETE: Reasons = &[
        ("latest_waker_is_woken", "it completes by itself"),
        ("drop_beside_the_wake", "the same"),
        ("wakes_under_no_lock", "the same"),
        ("set_before_wake", "the same"),
        ("clones_under_no_lock", "the same"),
    ];
    vec![
        a_future("tokio, oneshot", futures::tokio_oneshot),
        a_future("tokio, Notify", futures::tokio_notify),
        a_future("tokio, mpsc", futures::tokio_mpsc),
        a_future("tokio, JoinHandle", futures::tokio_join_handle),
        a_future("tokio, JoinHandle of another thread", futures::tokio_join_handle_elsewhere),
        a_future("tokio, sleep", futures::tokio_sleep).skips(NO_COMPLETE),
        a_future("tokio, select!", futures::select_of_two),
        a_future("futures, oneshot", futures::futures_oneshot),
        a_future("futures, mpsc", futures::futures_mpsc).fails(&[
            ("pending_keeps_a_waker", KEPT_BY_THE_CHANNEL),
            ("drop_while_pending", KEPT_BY_THE_CHANNEL),
            ("out_only_when_ready", KEPT_BY_THE_CHANNEL),
        ]),
        a_future("futures, Shared", futures::futures_shared)
            .fails(&[(
                "wakes_under_no_lock",
                "it wakes while it holds the lock of its list of wakers",
            )])
            .skips(&[("set_before_wake", "a poll inside the wake would wait for that lock")]),
        a_future("futures, FuturesUnordered", futures::futures_unordered),
        a_future("async-executor, Task of another thread", futures::async_executor_task),
        a_future("poll_fn that wakes itself", futures::wakes_itself).skips(NO_COMPLETE),
        a_future("Rust in C in Rust in C", futures::there_and_back),
        a_future("C in Rust under another waker each time", futures::relayed),
        a_future("that clones under its lock", futures::clones_under_its_lock),
    ]
}

fn streams_of_rust() -> Vec<Subject> {
    vec![
        a_stream("tokio, mpsc", streams::tokio_mpsc),
        a_stream("tokio, bounded mpsc", streams::tokio_mpsc_bounded)
            .skips(&[("one_wake_for_many_items", "it holds one item")]),
        a_stream("futures, FuturesOrdered", streams::futures_ordered),
        a_stream("Rust in C in Rust in C", streams::there_and_back),
    ]
}

fn executors_of_rust() -> Vec<Subject> {
    vec![
        an_executor("tokio, current thread", executors::tokio_here),
        an_executor("tokio, two threads", executors::tokio_threads),
        an_executor("tokio, LocalSet", executors::tokio_local_set),
        an_executor("async-executor", executors::async_executor),
        an_executor("futures, LocalPool", executors::local_pool),
        an_executor("futures, ThreadPool", executors::thread_pool).skips(&[(
            "close_drops_the_rest",
            "a waiting task owns itself and keeps the threads of the pool, so there is no close",
        )]),
    ]
}

fn sound() -> Subject {
    a_waker("that has no fault", || faulty(Fault::Nothing))
}

/// Each faulty subject, with the scenario that must fail.
fn faulty_subjects() -> Vec<(Subject, &'static str)> {
    use Fault::*;
    let wakers = [
        (LeaksAClone, "clone_is_a_reference"),
        (CountsNoClone, "clone_is_a_reference"),
        (WakeReleasesNothing, "wake_consumes"),
        (WakeByRefReleases, "wake_by_ref_borrows"),
        (DropReleasesNothing, "references_balance"),
        (DropWakes, "drop_wakes_nobody"),
        (ForgetsAWakeInsideThePoll, "wake_during_the_poll"),
        (WakesAfterTheEnd, "wake_after_the_end"),
        (DropTakesTheLockOfWake, "drop_inside_wake"),
        (CloneWaitsForThePoll, "slots_under_a_lock"),
        (CountsWithoutAtomics, "storm"),
        (KnowsOneThread, "unknown_thread"),
    ];
    let mut all: Vec<_> =
        wakers.map(|(f, rule)| (a_waker(format!("that {f:?}"), move || faulty(f)), rule)).into();
    all.push((
        a_future("that wakes under its lock", futures::wakes_under_its_lock),
        "wakes_under_no_lock",
    ));
    all.push((
        a_future("that keeps its first waker", futures::keeps_the_first_waker),
        "latest_waker_is_woken",
    ));
    all.push((a_future("that keeps no waker", futures::keeps_no_waker), "pending_keeps_a_waker"));
    all.push((a_future("that leaks", futures::leaks_when_dropped_early), "drop_while_pending"));
    all.push((
        a_stream("that keeps its first waker", streams::keeps_the_first_waker),
        "stream_latest_waker_is_woken",
    ));
    all.push((a_stream("that loses an item", streams::loses_an_item), "items_in_order"));
    all.push((an_executor("that is forgotten", executors::forgotten), "close_drops_the_rest"));
    all.push((an_executor("that gives up early", executors::impatient), "wake_inside_the_poll"));
    all.push((an_executor("that forgets a task", executors::forgetful), "polls_every_task"));
    all
}

// --------------------------------------------------------------------------------- child processes

const NAME: &str = "KIT_SUBJECT";

#[test]
#[ignore = "the other tests run it, in a process of its own"]
fn child() {
    let Ok(name) = std::env::var(NAME) else { return };
    let all = wakers_of_rust().into_iter().chain(futures_of_rust());
    let all = all.chain(streams_of_rust()).chain(executors_of_rust());
    let mut all = all.chain([sound()]).chain(faulty_subjects().into_iter().map(|(s, _)| s));
    let s = all.find(|s| s.name == name).expect("one of the subjects");
    let failed = (s.run)(&CString::new(name).expect("no NUL"));
    std::process::exit((failed != 0).into());
}

/// The kit's report on one subject.
struct Report {
    text: String,
    passed: BTreeSet<String>,
    skipped: BTreeSet<String>,
    failed: BTreeSet<String>,
    planned: usize,
    status: Option<i32>,
}

impl Report {
    /// The text with skipped scenarios as comments, so that each line with `ok` is one that passed.
    fn counted(&self) -> String {
        let mark = |l: &str| {
            if l.starts_with("ok") && l.contains(" # SKIP") {
                format!("# {l}\n")
            } else {
                format!("{l}\n")
            }
        };
        self.text.lines().map(mark).collect()
    }
}

/// Runs the kit on a subject, in a process of its own.
fn start(s: &Subject) -> Child {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(NAME, &s.name)
        .env("RAWWAKER_TEST_SECONDS", s.seconds)
        .env("RUST_BACKTRACE", "0")
        .env_remove("RAWWAKER_TEST_ONLY")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test runs itself")
}

/// Waits for a process of [`start`].
fn report(child: Child) -> Report {
    let child = child.wait_with_output().expect("the process's end");
    // libtest prints lines of its own before the report.
    let out = String::from_utf8_lossy(&child.stdout);
    let tap = out.find("TAP version").map_or("", |at| &out[at..]);
    let text = format!("{tap}{}", String::from_utf8_lossy(&child.stderr));
    let mut r = Report {
        passed: BTreeSet::new(),
        skipped: BTreeSet::new(),
        failed: BTreeSet::new(),
        planned: 0,
        status: child.status.code(),
        text,
    };
    for line in tap.lines() {
        if let Some(n) = line.strip_prefix("1..") {
            r.planned = n.parse().expect("a plan");
        }
        let Some((verdict, rest)) = line.split_once(" - ") else { continue };
        let (name, skip) =
            rest.split_once(" # SKIP").map_or((rest, false), |(name, _)| (name, true));
        let to = match verdict.split(' ').next() {
            Some("ok") if skip => &mut r.skipped,
            Some("ok") => &mut r.passed,
            Some("not") => &mut r.failed,
            _ => continue,
        };
        assert!(to.insert(name.into()), "{name} twice:\n{}", r.text);
    }
    r
}

/// The names of one of the kit's lists.
fn scenarios(mut rules: *const Rule) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    // SAFETY: rules is the kit's array, which ends with a NULL name.
    while let Some(r) = unsafe { rules.as_ref() }.filter(|r| !r.name.is_null()) {
        // SAFETY: a name is static text.
        names.insert(unsafe { CStr::from_ptr(r.name) }.to_str().expect("ASCII").into());
        // SAFETY: this was not the end, so one more follows.
        rules = unsafe { rules.add(1) };
    }
    names
}

/// Checks that each subject skips and fails exactly the scenarios in its tables, and passes the
/// rest. Stops at the first subject that does not, because a faulty one may take long.
fn check_all(subjects: &[Subject], rules: *const Rule) {
    let names = scenarios(rules);
    let mut passed_by: BTreeMap<&String, usize> = names.iter().map(|n| (n, 0)).collect();
    let mut count = 0;
    for s in subjects {
        let r = report(start(s));
        let table = |t: &mut dyn Iterator<Item = &(&str, &str)>| {
            t.map(|(n, _)| n.to_string()).collect::<BTreeSet<_>>()
        };
        let (skips, fails) =
            (table(&mut s.skips.iter().copied().flatten()), table(&mut s.fails.iter()));
        let passes: BTreeSet<_> =
            names.iter().filter(|n| !skips.contains(*n) && !fails.contains(*n)).cloned().collect();
        let status = Some(i32::from(!fails.is_empty()));
        if (&r.passed, &r.skipped, &r.failed, r.planned, r.status)
            != (&passes, &skips, &fails, names.len(), status)
        {
            let mut missed = BTreeSet::new();
            missed.extend(passes.difference(&r.passed).map(|n| format!("passed {n}")));
            missed.extend(skips.difference(&r.skipped).map(|n| format!("skipped {n}")));
            missed.extend(fails.difference(&r.failed).map(|n| format!("failed {n}")));
            panic!(
                "\n{}: expected it to have {missed:?}; status {:?}\n{}",
                s.name, r.status, r.text
            );
        }
        for n in &r.passed {
            *passed_by.get_mut(n).expect("one of the names") += 1;
        }
        count += r.passed.len();
        if s.name != sound().name {
            print!("{}", r.counted());
        }
        for (name, why) in s.fails {
            println!("# expected of {}: {name} fails: {why}", s.name);
        }
    }
    println!("# {count} scenarios passed, by {} subjects", subjects.len());
    for (name, n) in passed_by {
        assert!(n > 0, "no subject passed {name}: was it run at all?");
    }
}

#[test]
fn kit_accepts_the_wakers_of_rust_runtimes() {
    // SAFETY: the call returns a static array, here and below.
    check_all(&wakers_of_rust(), unsafe { sys::rawwaker_test_waker_rules() });
}

#[test]
fn kit_accepts_the_futures_of_rust_runtimes() {
    // SAFETY: as above.
    check_all(&futures_of_rust(), unsafe { sys::rawwaker_test_future_rules() });
}

#[test]
fn kit_accepts_the_streams_of_rust() {
    // SAFETY: as above.
    check_all(&streams_of_rust(), unsafe { sys::rawwaker_test_stream_rules() });
}

#[test]
fn kit_accepts_the_executors_of_rust_runtimes() {
    // SAFETY: as above.
    check_all(&executors_of_rust(), unsafe { sys::rawwaker_test_executor_rules() });
}

#[test]
fn kit_names_the_rule_that_each_faulty_subject_breaks() {
    let mut wrong = String::new();
    // Several at a time: most wait for the end of a scenario that hangs.
    for subjects in faulty_subjects().chunks_mut(8) {
        let started: Vec<_> = subjects
            .iter_mut()
            .map(|(s, rule)| {
                s.seconds = "1";
                (&s.name, *rule, start(s))
            })
            .collect();
        for (name, rule, child) in started {
            let r = report(child);
            if !r.failed.contains(rule) || !matches!(r.status, Some(1 | 3)) {
                wrong += &format!(
                    "{name}: expected {rule} to fail; {:?} failed, status {:?}\n{}\n",
                    r.failed, r.status, r.text
                );
                continue;
            }
            println!("# {name}: the kit names {rule}");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// So what the kit names in the faulty wakers is the fault, and not something that they share.
#[test]
fn kit_accepts_the_faulty_waker_without_its_fault() {
    // SAFETY: as above.
    check_all(&[sound()], unsafe { sys::rawwaker_test_waker_rules() });
}
