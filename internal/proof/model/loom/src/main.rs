//! Weak-memory models of the state words. The script `run` builds and runs them.

mod channel;
mod go;
mod models;
mod orders;
mod raw;
mod world;

use std::process::{exit, Command};
use std::sync::Mutex;

use models::{Model, ALL, MODELS, OFF};
use world::Twin;

static RUNNING: Mutex<&str> = Mutex::new("");

/// Makes a panic end the process, because loom's state is unusable after one. Exit status 1: a
/// property does not hold. 2: the fault is in the model itself, or in its bounds.
fn on_panic(orders: bool) {
    std::panic::set_hook(Box::new(move |info| {
        let what = info.payload();
        let text = what.downcast_ref::<String>().map(String::as_str);
        let text = text.or(what.downcast_ref::<&str>().copied()).unwrap_or("?");
        let name = *RUNNING.lock().unwrap();
        let found =
            ["property: ", "Causality violation", "deadlock"].iter().find(|f| text.contains(**f));
        let line = text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or("?");
        match found {
            Some(_) => println!("FAIL loom {name}: {line}"),
            None => println!("FAIL loom {name}: the model itself: {line}, {:?}", info.location()),
        }
        if orders && found.is_some() {
            println!("noticed by {name}");
        }
        exit(if found.is_some() { 1 } else { 2 });
    }));
}

/// Returns the number of executions.
fn check(m: &Model, bound: usize) -> u64 {
    *RUNNING.lock().unwrap() = m.name;
    let before = world::executions();
    let run = m.run;
    let mut loom = loom::model::Builder::new();
    loom.preemption_bound = (bound != ALL).then_some(bound);
    loom.check(move || {
        world::begin();
        run();
    });
    world::executions() - before
}

fn read_orders() {
    for (variable, prefix) in [("RAWWAKER_C", orders::ORD), ("RAWWAKER_CHANNEL_C", orders::CHANNEL)]
    {
        let Some(path) = std::env::var_os(variable) else {
            eprintln!("{variable} must name a C file with a table of orders");
            exit(2);
        };
        let read = std::fs::read_to_string(&path).map_err(|e| e.to_string());
        if let Err(why) = read.and_then(|s| orders::read(&s, prefix)) {
            println!("FAIL loom: {}: {why}", path.to_string_lossy());
            exit(2);
        }
    }
}

/// Runs each twin in a process of its own, since a twin ends by a panic.
fn twins() -> ! {
    let (mut found, mut all) = (0, 0);
    for m in MODELS {
        for t in m.twins {
            all += 1;
            let me = std::env::current_exe().expect("this program has a path");
            let out = Command::new(me)
                .args(["twin", m.name, &format!("{t:?}")])
                .output()
                .expect("it runs");
            let said = String::from_utf8_lossy(&out.stdout);
            if out.status.code() == Some(1) && said.contains("FAIL loom") {
                found += 1;
                println!("ok loom {}: broken twin {t:?} is found", m.name);
            } else {
                println!(
                    "FAIL loom {}: broken twin {t:?} is not found: {} {said}",
                    m.name, out.status
                );
            }
        }
    }
    println!("twins {found} of {all}");
    exit(if found == all { 0 } else { 1 });
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    read_orders();
    let (mode, only) = match args[..] {
        ["twins"] => twins(),
        ["twin", model, twin] => {
            let (m, t) = (MODELS.iter().find(|m| m.name == model), Twin::named(twin));
            let (Some(m), Some(t)) = (m, t) else {
                eprintln!("no such model or twin");
                exit(2);
            };
            on_panic(false);
            world::break_on_purpose(t);
            check(m, if m.bounds[1] == OFF { m.bounds[0] } else { m.bounds[1] });
            println!("not found");
            exit(0);
        }
        ["full", ref only @ ..] => (0, only),
        ["quick", ref only @ ..] => (1, only),
        ["orders", ref only @ ..] => (2, only),
        _ => {
            eprintln!("full|quick|orders [MODEL]... | twins | twin MODEL TWIN");
            exit(2);
        }
    };
    on_panic(mode == 2);
    for m in MODELS.iter().filter(|m| only.is_empty() || only.contains(&m.name)) {
        if m.bounds[mode] == OFF {
            continue;
        }
        println!("ok loom {}: {} executions", m.name, check(m, m.bounds[mode]));
    }
    let unused = orders::unused();
    if only.is_empty() && !unused.is_empty() {
        println!("FAIL loom: no model has used {}", unused.join(", "));
        exit(2);
    }
    println!("states {}", world::executions());
}
