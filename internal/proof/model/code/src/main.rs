//! rawwaker.c itself under a memory model. The script `run` builds the library that this program
//! loads, and runs it.

mod api;
mod scenarios;
mod shim;
mod world;

use std::collections::BTreeSet;
use std::process::{exit, Command};
use std::sync::Mutex;

use scenarios::{Scenario, ALL, OFF, SCENARIOS};
use shim::{What, AT_FLAG, AT_PAYLOAD, AT_SYSTEM};

static RUNNING: Mutex<&str> = Mutex::new("");
static LIBRARY: Mutex<String> = Mutex::new(String::new());

extern "C" {
    fn _exit(status: i32) -> !;
}

/// Without the destructors of the library, which are no part of an execution.
fn leave(status: i32) -> ! {
    use std::io::Write;
    let _ = std::io::stdout().flush();
    // SAFETY: it has no conditions.
    unsafe { _exit(status) }
}

/// Makes a panic end the process, because loom's state is unusable after one. Exit status 1: a
/// property does not hold. 2: the fault is in the scenario itself, or in its bounds.
fn on_panic() {
    std::panic::set_hook(Box::new(move |info| {
        let what = info.payload();
        let text = what.downcast_ref::<String>().map(String::as_str);
        let text = text.or(what.downcast_ref::<&str>().copied()).unwrap_or("?").to_string();
        fail(text, format!("{:?}", info.location().map(|l| (l.file(), l.line()))));
    }));
}

fn fail(text: String, location: String) -> ! {
    if shim::world().learned_now {
        start_again();
    }
    // A thread of the system has a larger stack than loom's.
    let reported = std::thread::spawn(move || report(&text, &location)).join();
    leave(reported.unwrap_or(2));
}

const LEARNED: &str = "CODE_LEARNED";
const FROM: &str = "CODE_FROM";

/// An execution has found an atomic word that was not made in time, so neither its failure nor its
/// success counts: the program starts again at this scenario, and knows the word.
fn start_again() -> ! {
    use std::os::unix::process::CommandExt;
    let me = std::env::current_exe().expect("this program has a path");
    let mut c = Command::new(me);
    c.args(std::env::args_os().skip(1));
    c.env(LEARNED, shim::world().learned()).env(FROM, *RUNNING.lock().unwrap());
    let why = c.exec();
    println!("FAIL code: {why}");
    leave(2);
}

fn report(text: &str, location: &str) -> i32 {
    let name = *RUNNING.lock().unwrap();
    let found =
        ["property: ", "Causality violation", "deadlock"].iter().find(|f| text.contains(**f));
    let line = text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or("?");
    let line = if line.starts_with("deadlock") { "deadlock: a sleeper is left" } else { line };
    let n = shim::world().executions;
    match found {
        Some(_) => println!("FAIL code {name}: execution {n}: {line}"),
        None => println!("FAIL code {name}: the scenario itself: {line}, {location}"),
    }
    if std::env::var_os("CODE_TRACE").is_some() {
        print_trace();
    }
    if found.is_some() {
        1
    } else {
        2
    }
}

const ORDERS: [&str; 6] = ["relaxed", "acquire", "acquire", "release", "acq_rel", "seq_cst"];

/// The function and the text of the line, for each place in the library.
fn places(ats: &BTreeSet<usize>) -> Vec<(usize, String, String)> {
    let library = LIBRARY.lock().unwrap().clone();
    let base = shim::world().base;
    let mut c = Command::new("addr2line");
    c.args(["-f", "-e", &library]);
    for at in ats {
        c.arg(format!("{:x}", at - base - 1));
    }
    let Ok(out) = c.output() else {
        return Vec::new();
    };
    let out = String::from_utf8_lossy(&out.stdout).into_owned();
    let lines: Vec<&str> = out.lines().collect();
    let text = |place: &str| -> Option<String> {
        let place = place.split_whitespace().next()?;
        let (file, line) = place.rsplit_once(':')?;
        let source = std::fs::read_to_string(file).ok()?;
        let line = source.lines().nth(line.parse::<usize>().ok()?.checked_sub(1)?)?;
        Some(line.trim().to_string())
    };
    ats.iter()
        .zip(lines.chunks(2))
        .map(|(at, l)| (*at, l[0].to_string(), text(l[1]).unwrap_or_default()))
        .collect()
}

/// Prints the atomic steps of this execution, and the plain accesses to what the last step is at.
fn print_trace() {
    let w = shim::world();
    let last = w.steps.last().copied();
    let overlaps = |s: &shim::Step| {
        last.is_some_and(|l| s.address < l.address + l.size && l.address < s.address + s.size)
    };
    let plain = |s: &shim::Step| matches!(s.what, What::Read | What::Write | What::Free);
    let shown: Vec<usize> =
        (0..w.steps.len()).filter(|i| !plain(&w.steps[*i]) || overlaps(&w.steps[*i])).collect();
    let ats: BTreeSet<usize> =
        shown.iter().map(|i| w.steps[*i].at).filter(|at| *at > AT_SYSTEM).collect();
    let places = places(&ats);
    for i in shown {
        let s = w.steps[i];
        let (function, text) = match s.at {
            AT_FLAG => ("(flag)", ""),
            AT_PAYLOAD => ("(payload)", ""),
            AT_SYSTEM => ("(system)", ""),
            at => places
                .iter()
                .find(|p| p.0 == at)
                .map_or(("?", ""), |p| (p.1.as_str(), p.2.as_str())),
        };
        let value = |v: u64| match w.name(v as usize) {
            n if n.starts_with("0x") && v < 0x1_0000_0000 => v.to_string(),
            n => n,
        };
        let values = match (s.read, s.wrote) {
            (Some(r), Some(n)) => format!("{} -> {}", value(r), value(n)),
            (Some(r), None) => value(r),
            (None, Some(n)) => format!("-> {}", value(n)),
            (None, None) => String::new(),
        };
        let from = match (s.source, s.old) {
            (Some(f), true) => format!("from {f}, old"),
            (Some(f), false) => format!("from {f}"),
            (None, true) => "the first value, old".to_string(),
            (None, false) => String::new(),
        };
        let order = match s.what {
            _ if plain(&s) => "plain",
            What::Post | What::Wait | What::Kick | What::Ack => "",
            _ => ORDERS[s.order as usize],
        };
        println!(
            "{i:4} T{} {function:24} {:8} {:12} {order:8} {values:14} {from:20} {text}",
            s.thread,
            format!("{:?}", s.what).to_lowercase(),
            if s.at == AT_SYSTEM { format!("fd {}", s.address) } else { w.name(s.address) },
        );
    }
}

/// Returns the number of executions.
fn check(s: &Scenario, bound: usize) -> u64 {
    *RUNNING.lock().unwrap() = s.name;
    let run = s.run;
    shim::world().executions = 0;
    let mut loom = loom::model::Builder::new();
    loom.preemption_bound = (bound != ALL).then_some(bound);
    loom.max_branches = 10_000;
    loom.check(move || {
        if shim::world().learned_now {
            start_again();
        }
        shim::begin();
        run();
        shim::end();
    });
    if shim::world().learned_now {
        start_again();
    }
    shim::world().executions
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let [library, mode, ref only @ ..] = args[..] else {
        eprintln!("LIBRARY full|quick|orders [SCENARIO]...");
        exit(2);
    };
    let mode = ["full", "quick", "orders"].iter().position(|m| *m == mode).expect("a mode");
    let symbols = std::fs::read_to_string(format!("{library}.symbols")).expect("symbols");
    *LIBRARY.lock().unwrap() = library.to_string();
    api::open(library, &symbols);
    shim::world().learn(&std::env::var(LEARNED).unwrap_or_default());
    on_panic();
    let mut all = 0;
    let from = std::env::var(FROM).unwrap_or_default();
    let first = SCENARIOS.iter().position(|s| s.name == from).unwrap_or(0);
    for s in SCENARIOS[first..].iter().filter(|s| only.is_empty() || only.contains(&s.name)) {
        if s.bounds[mode] == OFF {
            continue;
        }
        let n = check(s, s.bounds[mode]);
        println!("ok code {}: {n} executions", s.name);
        all += n;
    }
    println!("states {all}");
    leave(0);
}
