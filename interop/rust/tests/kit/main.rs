//! Rust's own wakers, futures and executors, held to the conformance kit in C (`wakertest/c`). Each subject has a process
//! of its own, for the kit ends its program where a call does not come back:
//!
//!     cargo test --test kit -- --nocapture
//!
//! prints the kit's TAP. What a subject does not show is skipped by name, and what it does not keep fails by name, each
//! with its reason in a table below: anything else, more or fewer, fails the test.

mod executors;
mod faulty;
mod futures;
mod sys;
mod wakers;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{c_int, CStr, CString};
use std::fmt::Display;
use std::process::Command;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, OnceLock};

use faulty::{faulty, Fault};
use kitfixture as _; // links the kit
use sys::{Arg, Rule, Shows, TestExecutor, TestFuture, TestWaker};
use wakers::{driven, Way, DRIVEN, MARK, MARKED};

/// Counts the blocks that hold a task of a runtime's, which it alone can free.
struct Marking;

// SAFETY: System does it all.
unsafe impl GlobalAlloc for Marking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() == MARK {
            MARKED.fetch_add(1, SeqCst);
        }
        // SAFETY: as the caller has promised.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        if layout.align() == MARK {
            MARKED.fetch_sub(1, SeqCst);
        }
        // SAFETY: as the caller has promised.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Marking = Marking;

// --------------------------------------------------------------------------------------------------- the subjects

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
    /// What is expected to fail need not be waited for as long.
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
        // SAFETY: the F below, in use until the kit is through; the same of the other two.
        unsafe { (*make.cast::<F>())() }
    }
    fn run<F: Fn() -> TestWaker>(name: &CStr, make: &F) -> c_int {
        // SAFETY: as call says.
        unsafe { sys::rawwaker_test_wakers(name.as_ptr(), call::<F>, (&raw const *make).cast_mut().cast()) }
    }
    subject(format!("waker: {name}"), move |name| run(name, &make))
}
fn a_future(name: impl Display, make: fn() -> TestFuture) -> Subject {
    unsafe extern "C" fn call(make: Arg) -> TestFuture {
        // SAFETY: as above.
        unsafe { (*make.cast::<fn() -> TestFuture>())() }
    }
    // SAFETY: as call says.
    subject(format!("future: {name}"), move |name| unsafe {
        sys::rawwaker_test_futures(name.as_ptr(), call, (&raw const make).cast_mut().cast())
    })
}
fn an_executor(name: impl Display, make: fn() -> TestExecutor) -> Subject {
    unsafe extern "C" fn call(make: Arg) -> TestExecutor {
        // SAFETY: as above.
        unsafe { (*make.cast::<fn() -> TestExecutor>())() }
    }
    // SAFETY: as call says.
    subject(format!("executor: {name}"), move |name| unsafe {
        sys::rawwaker_test_executors(name.as_ptr(), call, (&raw const make).cast_mut().cast())
    })
}

const NO_HOOK: Reasons = &[
    ("drop_inside_wake", "what it does inside a wake is its own: nothing of ours runs there"),
    ("clone_inside_wake", "the same"),
];
const NO_POLL: Reasons = &[
    ("wakes_publish", "its polls cannot be asked for"),
    ("wake_during_the_poll", "the same"),
    ("wake_after_the_poll", "the same"),
    ("slots_under_a_lock", "the same"),
];
const NO_END: Reasons = &[("wake_after_the_end", "its end cannot be asked for")];
const NO_TASK: &str = "it has no task: a wake of it is noticed by nobody";

/// Each by the `Waker`'s own slots, and through the crate.
fn wakers_of_rust() -> Vec<Subject> {
    let mut all = Vec::new();
    for way in [Way::Each, Way::Crate, Way::Back] {
        let named = |name: &str| match way {
            Way::Each => name.to_string(),
            Way::Crate => format!("{name}, by waker_into_raw"),
            Way::Back => format!("{name}, by waker_from_raw"),
        };
        all.push(a_waker(named("std, Arc<impl Wake>"), move || wakers::std_wake(way)));
        all.push(a_waker(named("std, each wake counted"), move || wakers::std_wake_exact(way)).skips(NO_POLL));
        all.push(a_waker(named("futures, ArcWake"), move || wakers::arc_wake(way)));
        all.push(a_waker(named("a box of C"), move || wakers::boxed(way)).skips(NO_POLL));
        all.push(a_waker(named("async-task"), move || wakers::async_task_held(way)));
        let detached = a_waker(named("async-task, detached"), move || wakers::async_task_detached(way));
        all.push(detached.skips(NO_POLL).skips(NO_END).fails(&[(
            "drop_wakes_nobody",
            "the last waker of a task that nobody holds schedules it once more, so that its executor drops the future: \
             no poll comes of it",
        )]));
        all.push(runtime(named("tokio, current thread"), wakers::TokioHere::new, way, DRIVEN).skips(NO_HOOK));
        all.push(runtime(named("tokio, two threads"), wakers::TokioThreads::new, way, DRIVEN).skips(NO_HOOK));
        all.push(runtime(named("async-executor"), wakers::Smol::new, way, DRIVEN).skips(NO_HOOK));
        all.push(runtime(named("futures, ThreadPool"), wakers::Pool::new, way, DRIVEN).skips(NO_HOOK));
        let shows = Shows { on_wake: true, ..DRIVEN };
        all.push(runtime(named("futures, FuturesUnordered"), wakers::Unordered::new, way, shows));
    }
    let mut noop = a_waker("std, Waker::noop", || wakers::noop(Way::Crate)).skips(NO_POLL).skips(NO_HOOK).fails(&[
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

/// Its threads, if any, begin where they are needed: in the child.
fn runtime<R: wakers::Runtime>(name: String, new: fn() -> Arc<R>, way: Way, shows: Shows) -> Subject {
    let one = OnceLock::new();
    a_waker(name, move || driven(one.get_or_init(new), way, shows))
}

fn futures_of_rust() -> Vec<Subject> {
    const KEPT_BY_THE_CHANNEL: &str =
        "a receiver that is dropped leaves its waker in the channel, until the last sender goes and wakes it";
    const NO_COMPLETE: Reasons = &[
        ("latest_waker_is_woken", "it goes on by itself"),
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
            .fails(&[("wakes_under_no_lock", "it wakes while it holds the lock of its list of wakers")])
            .skips(&[("set_before_wake", "a poll inside the wake waits for that lock")]),
        a_future("futures, FuturesUnordered", futures::futures_unordered),
        a_future("async-executor, Task of another thread", futures::async_executor_task),
        a_future("poll_fn that wakes itself", futures::wakes_itself).skips(NO_COMPLETE),
        a_future("Rust in C in Rust in C", futures::there_and_back),
        a_future("C in Rust under another waker each time", futures::relayed),
        a_future("that clones under its lock", futures::clones_under_its_lock),
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
            "the pool does not own a task that waits: it owns itself, and keeps the threads, so there is no close",
        )]),
    ]
}

fn sound() -> Subject {
    a_waker("that has no fault", || faulty(Fault::Nothing))
}

/// Each with the scenario that must fail.
fn what_is_faulty() -> Vec<(Subject, &'static str)> {
    use Fault::*;
    let wakers = [
        (LeaksAClone, "clone_is_a_reference"),
        (CountsNoClone, "clone_is_a_reference"),
        (WakeReleasesNothing, "wake_consumes"),
        (WakeByRefReleases, "wake_by_ref_borrows"),
        (DropReleasesNothing, "references_balance"),
        (DropWakes, "drop_wakes_nobody"),
        (ForgetsAWakeInsideThePoll, "wake_during_the_poll"),
        (WakesTheDead, "wake_after_the_end"),
        (DropTakesTheLockOfWake, "drop_inside_wake"),
        (CloneWaitsForThePoll, "slots_under_a_lock"),
        (CountsWithoutAtomics, "storm"),
        (KnowsOneThread, "unknown_thread"),
    ];
    let mut all: Vec<_> = wakers.map(|(f, rule)| (a_waker(format!("that {f:?}"), move || faulty(f)), rule)).into();
    all.push((a_future("that wakes under its lock", futures::wakes_under_its_lock), "wakes_under_no_lock"));
    all.push((a_future("that keeps its first waker", futures::keeps_the_first_waker), "latest_waker_is_woken"));
    // pending_keeps_a_waker does not see it: into_raw has kept one itself, for the next poll to compare.
    all.push((a_future("that keeps no waker", futures::keeps_no_waker), "wakes_when_it_can_go_on"));
    all.push((a_future("that leaks", futures::leaks_when_dropped_early), "drop_while_pending"));
    all.push((an_executor("that is forgotten", executors::forgotten), "close_drops_the_rest"));
    all.push((an_executor("that gives up early", executors::impatient), "wake_inside_the_poll"));
    all.push((an_executor("that forgets a task", executors::forgetful), "polls_every_task"));
    all
}

// ---------------------------------------------------------------------------------------------------- the processes

const NAME: &str = "KIT_SUBJECT";

#[test]
#[ignore = "of the other tests, which run it in a process of its own"]
fn the_child() {
    let Ok(name) = std::env::var(NAME) else { return };
    let all = wakers_of_rust().into_iter().chain(futures_of_rust()).chain(executors_of_rust());
    let mut all = all.chain([sound()]).chain(what_is_faulty().into_iter().map(|(s, _)| s));
    let s = all.find(|s| s.name == name).expect("one of the subjects");
    let failed = (s.run)(&CString::new(name).expect("no NUL"));
    std::process::exit((failed != 0).into());
}

/// What the kit has said of one subject.
struct Report {
    text: String,
    kept: BTreeSet<String>,
    skipped: BTreeSet<String>,
    failed: BTreeSet<String>,
    planned: usize,
    status: Option<i32>,
}

impl Report {
    /// The text for whoever counts its lines: what was skipped is no `ok` there.
    fn counted(&self) -> String {
        let mark =
            |l: &str| if l.starts_with("ok") && l.contains(" # SKIP") { format!("# {l}\n") } else { format!("{l}\n") };
        self.text.lines().map(mark).collect()
    }
}

/// Holds a subject to the kit, in a process of its own.
fn hold(s: &Subject) -> Report {
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "the_child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(NAME, &s.name)
        .env("RAWWAKER_TEST_SECONDS", s.seconds)
        .env("RUST_BACKTRACE", "0")
        .env_remove("RAWWAKER_TEST_ONLY")
        .output()
        .expect("this test runs itself");
    // What libtest says before the kit does is no part of the report.
    let out = String::from_utf8_lossy(&child.stdout);
    let tap = out.find("TAP version").map_or("", |at| &out[at..]);
    let text = format!("{tap}{}", String::from_utf8_lossy(&child.stderr));
    let mut r = Report {
        kept: BTreeSet::new(),
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
        let (name, skip) = rest.split_once(" # SKIP").map_or((rest, false), |(name, _)| (name, true));
        let to = match verdict.split(' ').next() {
            Some("ok") if skip => &mut r.skipped,
            Some("ok") => &mut r.kept,
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
    // SAFETY: the kit's array, with a NULL name at its end.
    while let Some(r) = unsafe { rules.as_ref() }.filter(|r| !r.name.is_null()) {
        // SAFETY: a name is text of C's that stays.
        names.insert(unsafe { CStr::from_ptr(r.name) }.to_str().expect("ASCII").into());
        // SAFETY: not past the end.
        rules = unsafe { rules.add(1) };
    }
    names
}

/// Every scenario is kept, but for those in the subject's tables: no more of them, and no fewer. The first subject that
/// is amiss ends it, for it may have taken its time.
fn keeps_the_rules(subjects: &[Subject], rules: *const Rule) {
    let names = scenarios(rules);
    let mut kept_by: BTreeMap<&String, usize> = names.iter().map(|n| (n, 0)).collect();
    let mut count = 0;
    for s in subjects {
        let r = hold(s);
        let table = |t: &mut dyn Iterator<Item = &(&str, &str)>| t.map(|(n, _)| n.to_string()).collect::<BTreeSet<_>>();
        let (skips, fails) = (table(&mut s.skips.iter().copied().flatten()), table(&mut s.fails.iter()));
        let kept: BTreeSet<_> = names.iter().filter(|n| !skips.contains(*n) && !fails.contains(*n)).cloned().collect();
        let status = Some(i32::from(!fails.is_empty()));
        if (&r.kept, &r.skipped, &r.failed, r.planned, r.status) != (&kept, &skips, &fails, names.len(), status) {
            let mut missed = BTreeSet::new();
            missed.extend(kept.difference(&r.kept).map(|n| format!("kept {n}")));
            missed.extend(skips.difference(&r.skipped).map(|n| format!("skipped {n}")));
            missed.extend(fails.difference(&r.failed).map(|n| format!("failed {n}")));
            panic!("\n{}: expected that it {missed:?}; status {:?}\n{}", s.name, r.status, r.text);
        }
        for n in &r.kept {
            *kept_by.get_mut(n).expect("one of the names") += 1;
        }
        count += r.kept.len();
        if s.name != sound().name {
            print!("{}", r.counted());
        }
        for (name, why) in s.fails {
            println!("# expected of {}: {name} fails: {why}", s.name);
        }
    }
    println!("# {count} scenarios kept by {} subjects", subjects.len());
    for (name, n) in kept_by {
        assert!(n > 0, "nobody has kept {name}: was it run at all?");
    }
}

#[test]
fn the_wakers_of_rusts_runtimes_keep_the_rules_of_the_kit() {
    // SAFETY: it gives an array, here and below.
    keeps_the_rules(&wakers_of_rust(), unsafe { sys::rawwaker_test_waker_rules() });
}

#[test]
fn the_futures_of_rusts_runtimes_keep_the_rules_of_the_kit() {
    // SAFETY: as above.
    keeps_the_rules(&futures_of_rust(), unsafe { sys::rawwaker_test_future_rules() });
}

#[test]
fn the_executors_of_rusts_runtimes_keep_the_rules_of_the_kit() {
    // SAFETY: as above.
    keeps_the_rules(&executors_of_rust(), unsafe { sys::rawwaker_test_executor_rules() });
}

#[test]
fn the_kit_names_the_rule_that_each_faulty_thing_breaks() {
    let mut amiss = String::new();
    for (mut s, rule) in what_is_faulty() {
        s.seconds = "1";
        let r = hold(&s);
        if !r.failed.contains(rule) || !matches!(r.status, Some(1 | 3)) {
            amiss +=
                &format!("{}: {rule} was to fail; {:?} did, status {:?}\n{}\n", s.name, r.failed, r.status, r.text);
            continue;
        }
        println!("# {}: {rule} is named", s.name);
    }
    assert!(amiss.is_empty(), "\n{amiss}");
}

/// The same that each of them is made of, without the fault: so it is the fault that is named.
#[test]
fn what_the_faulty_wakers_are_made_of_keeps_the_rules() {
    // SAFETY: as above.
    keeps_the_rules(&[sound()], unsafe { sys::rawwaker_test_waker_rules() });
}
