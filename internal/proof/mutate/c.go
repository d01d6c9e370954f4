//go:build unix

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/internal/proof/tool"
)

// cFile is a file of C that is edited.
type cFile struct {
	path  string
	macro string // by which programs and models that include it are given an edited one
	from  string // a part of the line from which on it is edited
	calls string // what the edit "left out" leaves out; empty: plainSteps

	diagnoses bool // it is a tool that prints: the rules of thinC hold
}

const source = "rawwaker.c"

var filesC = []cFile{
	{source, "RAWWAKER_C", "counted wakers: what all three share", "", false},
	{"channel/rawwaker_channel.c", "RAWWAKER_CHANNEL_C", "static rawwaker_sender *channel_of(", "",
		false},
	{"audit/rawwaker_audit.c", "", "static void *pool_at(", anyCall, true},
	{"hosts/archive/archive.c", "", "static int enter(", anyCall, false},
}

// anyCall is a statement that is a call.
const anyCall = `[\w>.-]+`

func fileC(path string) cFile {
	return filesC[slices.IndexFunc(filesC, func(f cFile) bool { return f.path == path })]
}

// weaker lists the orders weaker than each.
var weaker = map[string][]string{
	"seq_cst": {"acq_rel", "acquire", "release", "relaxed"},
	"acq_rel": {"acquire", "release", "relaxed"},
	"acquire": {"relaxed"},
	"release": {"relaxed"},
}

// orders weakens each entry of the table at the top of each file, from which the weak-memory
// models are built too.
func orders() (all []mutant) {
	for _, f := range filesC {
		all = append(all, ordersOf(f)...)
	}
	return all
}

func ordersOf(f cFile) []mutant {
	text, err := os.ReadFile(f.path)
	tool.Check(err)
	prefix := ""
	if f.path != source {
		prefix = strings.TrimSuffix(filepath.Base(f.path), ".c") + " "
	}
	var all []mutant
	define := regexp.MustCompile(`(?m)^#define (ORD_\w+) memory_order_(\w+)`)
	for _, at := range define.FindAllSubmatchIndex(text, -1) {
		name, order := string(text[at[2]:at[3]]), string(text[at[4]:at[5]])
		for _, to := range weaker[order] {
			all = append(all, mutant{
				kind: "orders", file: f.path, line: lineOf(text, at[0]),
				key:  fmt.Sprintf("%s%s: %s -> %s", prefix, name, order, to),
				text: splice(text, at[4], at[5], to),
			})
		}
	}
	return all
}

// tryOrders runs the weak-memory models, which read the orders from the table of the file that they
// are given.
func tryOrders(dir string, m mutant) verdict {
	tool.Check(os.MkdirAll(dir, 0o755))
	file := filepath.Join(dir, "weak.c")
	tool.Check(os.WriteFile(file, m.text, 0o644))
	noticed, out := command(4*time.Minute, ".", []string{fileC(m.file).macro + "=" + file},
		"internal/proof/model/loom/run", "orders")
	if !noticed && strings.Contains(out, "left out") {
		return verdict{none: "left out: no cargo"}
	} else if !noticed {
		return verdict{}
	}
	_, model, ok := strings.Cut(out, "noticed by ")
	if !ok {
		tool.Check(fmt.Errorf("%s: %s", m.key, out))
	}
	return verdict{by: "loom " + strings.TrimSpace(model)}
}

func lineOf(text []byte, at int) int { return 1 + strings.Count(string(text[:at]), "\n") }

func splice(text []byte, from, to int, with string) []byte {
	out := append([]byte{}, text[:from]...)
	out = append(out, with...)
	return append(out, text[to:]...)
}

// plainSteps are the calls that an edit leaves out.
const plainSteps = `counted_ref|counted_free|counted_unref|box_unref|box_push|box_free|` +
	`sink_ref|sink_unref|sink_unpark|sink_use|use|sink_read|sink_write|sink_call|sink_shut|` +
	`sink_replace|rawwaker_sink_close|hooks_defer|hooks_drop|close|dup2|dup3|free|` +
	`semaphore_post|semaphore_wait|waiting_sleep|parker_park|parker_drop|` +
	`queue_unref|sink_announce|oneshot_free|oneshot_leave|oneshot_destroy|oneshot_cancel|` +
	`oneshot_fail|release|o->ops->\w+|j->ops->\w+|job_unref|rawwaker_queue_drop|` +
	`rawwaker_oneshot_drop|rawwaker_sink_ack|rawwaker_watch_used|` +
	`checked_drop|checked_wake|checked_wake_by_ref|fn_drop|fn_wake_by_ref|` +
	`parker_wake_by_ref|box_wake_by_ref|rawwaker_wake_by_ref|atomic_\w+|` +
	`wake_one|wake_all|wake_receiver|room_wake|room_end|channel_unref|channel_free|sender_end|` +
	`destroy_items|rawwaker_cell_\w+|c->ops->\w+`

// editsC are the edits in C: what each pattern finds, and what replaces it. They are tried on each
// line from the counted wakers on.
var editsC = []struct {
	name    string
	pattern *regexp.Regexp
	with    string
}{
	// the checks
	{"== to !=", regexp.MustCompile(` == `), ` != `},
	{"!= to ==", regexp.MustCompile(` != `), ` == `},
	{"> to >=", regexp.MustCompile(` > `), ` >= `},
	{">= 0 to < 0", regexp.MustCompile(` >= 0\b`), ` < 0`},
	{"< 0 to >= 0", regexp.MustCompile(` < 0\b`), ` >= 0`},
	{"&& to ||", regexp.MustCompile(` && `), ` || `},
	{"never", regexp.MustCompile(`\bif \((!?\w[\w>.-]*)\)`), `if (false)`},
	{"always", regexp.MustCompile(`\bif \((!?\w[\w>.-]*)\)`), `if (true)`},
	{"counted in and not used",
		regexp.MustCompile(`\bif \((use_begin\([^)]*\))\)`), `if ($1 && false)`},
	{"used and counted out though it was not counted in",
		regexp.MustCompile(`\bif \((use_begin\([^)]*\))\)`), `if ($1 || true)`},
	{"ended by none", regexp.MustCompile(`\b(use_end\([^)]*\))\)`), `$1 && false)`},
	{"ended by each", regexp.MustCompile(`\b(use_end\([^)]*\))\)`), `($1 || true))`},
	// the counts
	{"one more", regexp.MustCompile(`, (1|n|HOLD), ORD_(REF|UNREF)`), `, $1 + 1, ORD_$2`},
	{"REF to 2 REF", regexp.MustCompile(`refs - REF,`), `refs - 2 * REF,`},
	{"REF to 0", regexp.MustCompile(`counted_ref\((.*), REF\)`), `counted_ref($1, 0)`},
	{"add to sub", regexp.MustCompile(`atomic_fetch_add_explicit`), `atomic_fetch_sub_explicit`},
	// the steps
	{"left out", leftOut(plainSteps), `$1;`},
	{"exchange" + tornEdit, regexp.MustCompile(`atomic_exchange_explicit\(`), `torn_exchange(`},
	{"compare-and-swap" + tornEdit,
		regexp.MustCompile(`atomic_compare_exchange_(?:weak|strong)_explicit\(`),
		`torn_compare_exchange(`},
	{"or" + tornEdit, regexp.MustCompile(`atomic_fetch_or_explicit\(`), `torn_or(`},
	{"and" + tornEdit, regexp.MustCompile(`atomic_fetch_and_explicit\(`), `torn_and(`},
	{"subtraction" + tornEdit, regexp.MustCompile(`atomic_fetch_sub_explicit\(`),
		`torn_sub(`},
	{"WOKEN to IDLE", regexp.MustCompile(`, WOKEN, ORD`), `, IDLE, ORD`},
	{"IDLE to WOKEN", regexp.MustCompile(`, IDLE, ORD`), `, WOKEN, ORD`},
	{"NOTIFIED to EMPTY", regexp.MustCompile(`, NOTIFIED, ORD`), `, EMPTY, ORD`},
	{"EMPTY to NOTIFIED", regexp.MustCompile(`, EMPTY, ORD`), `, NOTIFIED, ORD`},
	{"LOOP to IDLE", regexp.MustCompile(`LOOP, (ORD|memory)`), `IDLE, $1`},
	{"1 to 0", regexp.MustCompile(`, 1, ORD_CLOSE`), `, 0, ORD_CLOSE`},
	{"0 to 1", regexp.MustCompile(`, 0, ORD_SLEEP`), `, 1, ORD_SLEEP`},
	// how a wake is delivered, and how the objects that it uses end
	{"flag cleared by a store", regexp.MustCompile(regexp.QuoteMeta(clearsFlag)),
		`atomic_store_explicit(&s->sleeping, 0, ORD_SLEEP)`},
	{"each sleep has the same number", regexp.MustCompile(`&s->sleeping, sleep, ORD_SLEEP`),
		`&s->sleeping, 1, ORD_SLEEP`},
	{"flag cleared before the write",
		regexp.MustCompile(`^  int saved = errno, cancel = cancel_hold\(\);`),
		`  ` + clearsFlag + `; int saved = errno, cancel = cancel_hold();`},
	{"no GONE bit",
		regexp.MustCompile(`return atomic_compare_exchange_strong_explicit\(u, &closed, .*`),
		`return (void)closed, true;`},
	{"used although it is closed", regexp.MustCompile(`\(before & CLOSED\) != 0`), `false`},
	{"a wake drops the hook", regexp.MustCompile(`hooks_defer\(sink_hooks\(s\)\)`),
		`hooks_drop(sink_hooks(s), __func__)`},
	{"a take ignores a register", regexp.MustCompile(`was != WAITING\)`),
		`was != WAITING && was != REGISTERING)`},
	// the oneshot, and the queue
	{"SETTLED to 0", regexp.MustCompile(`, SETTLED, ORD`), `, 0, ORD`},
	{"HUNG_UP to 0", regexp.MustCompile(`, HUNG_UP, ORD`), `, 0, ORD`},
	{"LISTENING to 0", regexp.MustCompile(`, LISTENING, ORD`), `, 0, ORD`},
	{"LISTENING stays", regexp.MustCompile(`~\(uint32_t\)LISTENING`), `~(uint32_t)0`},
	{"a side stays", regexp.MustCompile(`\) - SIDE`), `)`},
	{"a side more", regexp.MustCompile(`2 \* SIDE`), `3 * SIDE`},
	{"a side less", regexp.MustCompile(`2 \* SIDE`), `SIDE`},
	{"a side is left twice", regexp.MustCompile(`, SIDE, ORD`), `, 2 * SIDE, ORD`},
	{"LISTENING is not looked at", regexp.MustCompile(`\(LISTENING \| (HUNG_UP|SETTLED)\)`), `$1`},
	{"HUNG_UP is not looked at", regexp.MustCompile(`\(LISTENING \| HUNG_UP\)`), `LISTENING`},
	{"SETTLED is not looked at", regexp.MustCompile(`\(LISTENING \| SETTLED\)`), `LISTENING`},
	{"assignment left out", regexp.MustCompile(`^(\s+)o->\w+ = [^=].*;$`), `$1;`},
	{"true to false", regexp.MustCompile(`return true;`), `return false;`},
	{"false to true", regexp.MustCompile(`return false;`), `return true;`},
	{"refused to NULL", regexp.MustCompile(`&refused, ORD`), `NULL, ORD`},
	{"NULL to refused", regexp.MustCompile(`&list, NULL, ORD`), `&list, &refused, ORD`},
	// the channel
	{"WAITING to AWAKE", regexp.MustCompile(`, WAITING, ORD`), `, AWAKE, ORD`},
	{"AWAKE to WAITING", regexp.MustCompile(`, AWAKE, ORD`), `, WAITING, ORD`},
	{"GONE to WAITING", regexp.MustCompile(`, GONE, ORD`), `, WAITING, ORD`},
	{"SHUT to 0", regexp.MustCompile(`, SHUT, ORD`), `, 0, ORD`},
	{"WAITS to IDLE", regexp.MustCompile(`, WAITS, ORD`), `, IDLE, ORD`},
	{"cancellation is left off", regexp.MustCompile(`^(\s+)cancel_restore\(cancel\);`), `$1;`},
}

func leftOut(calls string) *regexp.Regexp {
	return regexp.MustCompile(`^(\s+)(?:(?:` + calls + `)\(.*\));$`)
}

// tornEdit ends the name of each edit that makes two steps of one.
const tornEdit = " to load and store"

const clearsFlag = `atomic_compare_exchange_strong_explicit(&s->sleeping, &sleep, 0, ORD_SLEEP, ` +
	`memory_order_relaxed)`

// torn is what the torn edits call: a load and a store with the same orders, and between them a
// pause such as a scheduler may make.
const torn = `
#include <sched.h>
static void torn_pause(void) {
  static _Thread_local unsigned n;
  for (volatile unsigned i = ++n * 7 % 64; i > 0; i--) {
  }
  if (n % 8 == 0) sched_yield();
}
#define torn_loads(order) ((order) == memory_order_seq_cst ? memory_order_seq_cst : \
  (order) == memory_order_relaxed || (order) == memory_order_release ? memory_order_relaxed : \
  memory_order_acquire)
#define torn_stores(order) ((order) == memory_order_seq_cst ? memory_order_seq_cst : \
  (order) == memory_order_relaxed || (order) == memory_order_acquire ? memory_order_relaxed : \
  memory_order_release)
#define torn_or(p, v, order) __extension__({ __auto_type q = (p); \
  __auto_type was = atomic_load_explicit(q, torn_loads(order)); \
  torn_pause(); atomic_store_explicit(q, was | (v), torn_stores(order)); was; })
#define torn_and(p, v, order) __extension__({ __auto_type q = (p); \
  __auto_type was = atomic_load_explicit(q, torn_loads(order)); \
  torn_pause(); atomic_store_explicit(q, was & (v), torn_stores(order)); was; })
#define torn_sub(p, v, order) __extension__({ __auto_type q = (p); \
  __auto_type was = atomic_load_explicit(q, torn_loads(order)); \
  torn_pause(); atomic_store_explicit(q, was - (v), torn_stores(order)); was; })
#define torn_exchange(p, v, order) __extension__({ __auto_type q = (p); \
  __auto_type was = atomic_load_explicit(q, torn_loads(order)); \
  torn_pause(); atomic_store_explicit(q, (v), torn_stores(order)); was; })
#define torn_compare_exchange(p, e, v, order, fail) __extension__({ __auto_type q = (p); \
  __auto_type want = (e); __auto_type was = atomic_load_explicit(q, torn_loads(order)); \
  bool same = was == *want; *want = was; torn_pause(); \
  if (same) atomic_store_explicit(q, (v), torn_stores(order)); same; })
`

// notMutated are the functions in which no edit is made: those of the clock, rawwaker_block_on, and
// those that only decide how long it spins.
var notMutated = []string{"rawwaker_block_on", "stopwatch_expired", "reads_clock", "nanoseconds",
	"parker_spin", "spin_pause", // of the auditor: how it reads a stack and writes an address
	"thread_id", "process_id", "write_stderr", "capture_stack", "unwinder_takes_no_lock",
	"find_signal_frame", "descend", "add_stack", "add_address", "add_place"}

func inC() (all []mutant) {
	for _, f := range filesC {
		all = append(all, inFileC(f)...)
	}
	return all
}

func inFileC(f cFile) []mutant {
	text, err := os.ReadFile(f.path)
	tool.Check(err)
	var all []mutant
	on, function, comment := false, "", false
	offset := 0
	begin := regexp.MustCompile(`^[a-z_].*?\b(\w+)\([^;]*\{`)
	seen := map[string]int{}
	lines := strings.SplitAfter(string(text), "\n")
	for i, n := 0, 0; i < len(lines); i += n {
		at, line := offset, lines[i]
		inside := comment || strings.HasPrefix(strings.TrimSpace(line), "/*") ||
			strings.HasPrefix(strings.TrimSpace(line), "//")
		if n = 1; !inside {
			line, n = statement(lines[i:])
		}
		for _, l := range lines[i : i+n] {
			offset += len(l)
		}
		if strings.Contains(line, f.from) {
			on = true
		}
		if m := begin.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			function = m[1]
		}
		if strings.Contains(line, "/*") && !strings.Contains(line, "*/") {
			comment = true
		}
		if strings.Contains(line, "*/") {
			comment = false
		}
		if !on || inside || !strings.HasPrefix(line, " ") && !strings.Contains(line, "{ ") ||
			strings.Contains(line, "_Static_assert") || strings.Contains(line, "out of memory") ||
			slices.Contains(notMutated, function) {
			continue
		}
		code := withoutComment(line)
		whole := len(code) // of the statement, as it is in the file
		if n > 1 {
			whole = offset - at - len(lines[i+n-1]) + len(withoutComment(lines[i+n-1]))
		}
		for _, e := range editsC {
			pattern := e.pattern
			if e.name == "left out" && f.calls != "" {
				pattern = leftOut(f.calls)
			}
			for _, loc := range pattern.FindAllStringSubmatchIndex(code, -1) {
				if e.name == "left out" && strings.Contains(code, "die(") {
					continue
				}
				if e.name == "never" && strings.Contains(code, "die(") {
					continue // tested by the deaths of unit.c, which these runs leave out
				}
				with := string(e.pattern.ExpandString(nil, e.with, code, loc))
				key := fmt.Sprintf("%s: %s: %s", function, strings.TrimSpace(code), e.name)
				if seen[key]++; seen[key] > 1 {
					key += fmt.Sprintf(" (%d)", seen[key])
				}
				why := ""
				if f.diagnoses {
					why = thinC(e.name, function, code, loc[0])
				}
				edited := splice(text, at, at+whole, string(splice([]byte(code), loc[0], loc[1], with)))
				if strings.Contains(with, "torn_") {
					first := strings.Index(string(edited), "static _Noreturn void die")
					edited = splice(edited, first, first, strings.TrimPrefix(torn, "\n"))
				}
				all = append(all, mutant{
					kind: "c", file: f.path, line: i + 1, key: key, text: edited, thinned: why,
				})
			}
		}
	}
	return all
}

// statement returns the first line and those that continue it, n in all, as one line, so that keys
// do not depend on how a statement is wrapped.
func statement(lines []string) (line string, n int) {
	line = lines[0]
	for n = 1; n < len(lines) && !strings.HasPrefix(line, "#"); n++ {
		code := withoutComment(line)
		open := strings.Count(code, "(") - strings.Count(code, ")")
		switch {
		case open > 0 && strings.HasSuffix(code, "("):
			line = code + strings.TrimLeft(lines[n], " ")
		case open > 0, strings.HasSuffix(code, " ="):
			line = code + " " + strings.TrimLeft(lines[n], " ")
		default:
			return line, n
		}
	}
	return line, n
}

func withoutComment(line string) string {
	code, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " /*")
	return code
}

// cLab holds what all mutants share: the tests, compiled once, and how long each may take.
type cLab struct {
	dir, setarch string
	runs         []*cRun
	built        sync.Once         // libffiwaker.a
	code         map[string][]byte // of the unedited files
}

type program struct {
	name       string
	of         string // the edited file; "" is rawwaker.c
	sources    []string
	flags      []string // of the sources
	library    []string // of the edited file
	link       []string
	asan, tsan []string // the arguments of each run
	includes   bool     // its first source includes the edited file, by the macro's name
	prints     string   // a file: what each run prints
	archive    bool     // it is linked with libffiwaker.a, and needs no sanitizer
	none       []string // the arguments of each run without a sanitizer
	broken     bool     // it is internal/test/broken/run: each of its users of the auditor runs
}

// hosts are programs of libffiwaker, which print what a file of hosts/expected has.
func hosts() (all []program) {
	for _, name := range strings.Fields("hook hook_drop budget end misuse cancel forked senders " +
		"no_descriptors sites storm timeout") {
		all = append(all, program{
			name: name, of: "hosts/archive/archive.c", sources: []string{"hosts/tests/" + name + ".c"},
			prints: "hosts/expected/" + name + ".txt", archive: true, none: []string{""},
			flags: []string{"-O0"}, link: []string{"-rdynamic"},
		})
	}
	return all
}

// file is the edited one.
func (p program) file() cFile { return fileC(cmp.Or(p.of, source)) }

// linked are the sources that are compiled once.
func (p program) linked() []string {
	if p.includes {
		return p.sources[1:]
	}
	return p.sources
}

var (
	refusing = strings.Fields("-Wl,--wrap=malloc -Wl,--wrap=calloc")
	failing  = strings.Fields("-Wl,--wrap=eventfd -Wl,--wrap=pipe -Wl,--wrap=write -Wl,--wrap=read" +
		" -Wl,--wrap=close -Wl,--wrap=pthread_create" +
		" -Wl,--wrap=sem_init -Wl,--wrap=sem_wait -Wl,--wrap=sem_post")
	programs = []program{
		{name: "senders", sources: []string{"internal/test/purec/senders.c"}, link: refusing,
			asan: []string{"-no-deaths 3000", "1"}, tsan: []string{"-no-deaths 3000"}},
		{name: "jobs", sources: []string{"internal/test/purec/jobs.c"}, link: refusing,
			asan: []string{"-no-deaths 2000"}, tsan: []string{"-no-deaths 2000"}},
		{name: "unit", sources: []string{"internal/test/purec/unit.c"}, link: refusing,
			asan: []string{"-no-deaths"}, tsan: []string{"-no-deaths"}},
		{name: "gaps", sources: []string{"internal/test/purec/gaps.c"}, includes: true,
			asan: []string{""}},
		{name: "gaps-on-pipes", sources: []string{"internal/test/purec/gaps.c"},
			library: []string{"-U__linux__"}, includes: true, asan: []string{""}},
		{name: "races", sources: []string{"internal/test/purec/races.c"},
			asan: []string{"4000"}, tsan: []string{"1500"}},
		{name: "kit", sources: []string{"wakertest/c/own.c", "wakertest/c/rawwaker_test.c"},
			asan: []string{""}, tsan: []string{""}},
		{name: "stress", sources: []string{"internal/test/purec/stress.c"},
			asan: []string{"2000 1", "2000 2"}, tsan: []string{"2000 3", "2000 4"}},
		{name: "system", sources: []string{"internal/proof/faults/system.c"}, link: failing,
			asan: []string{""}},
		{name: "pipes", sources: []string{"internal/proof/faults/system.c"}, flags: []string{"-DPIPES"},
			library: []string{"-U__linux__"}, link: failing, asan: []string{""}},
		{name: "channel", of: "channel/rawwaker_channel.c", link: refusing,
			sources: []string{"internal/test/purec/channel.c", source},
			asan:    []string{"-no-deaths 20000 1", "1 1"}, tsan: []string{"-no-deaths 10000 2"}},
		{name: "channel-kit", of: "channel/rawwaker_channel.c",
			sources: []string{"internal/test/purec/channel_kit.c", "wakertest/c/rawwaker_test.c", source},
			asan:    []string{""}, tsan: []string{""}},
		{name: "rules", of: "audit/rawwaker_audit.c", none: []string{""}, broken: true,
			sources: append(strings.Fields("internal/test/broken/run/main.c "+
				"internal/test/broken/table.c internal/test/broken/wakers.c "+
				"internal/test/broken/futures.c internal/test/broken/streams.c "+
				"internal/test/broken/executors.c internal/test/broken/users.c "+
				"wakertest/c/rawwaker_test.c"), source)},
		{name: "audit", of: "audit/rawwaker_audit.c", link: refusing,
			sources: []string{"internal/test/purec/audit.c", source},
			asan:    []string{"500"}, tsan: []string{"300"}},
		{name: "channel-gaps", of: "channel/rawwaker_channel.c", includes: true,
			sources: []string{"internal/test/purec/channel_gaps.c", source}, asan: []string{""}},
	}
	sanitizers = map[string][]string{
		"none": nil,
		"asan": {"-fsanitize=address,undefined", "-fno-sanitize-recover=all"},
		"tsan": {"-fsanitize=thread"},
	}
)

// cRun is one run of one program under one sanitizer.
type cRun struct {
	program   program
	sanitizer string
	arg       string
	once      sync.Once     // of prepare
	want      string        // what it prints, of programs with broken
	limit     time.Duration // of a run with a mutant
}

func (r *cRun) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s under %s %s", r.program.name, r.sanitizer, r.arg))
}

// library returns the flags with which the edited file is compiled for the run.
func (r *cRun) library() []string {
	return append(append([]string{}, sanitizers[r.sanitizer]...), r.program.library...)
}

func newCLab(temp string, all []mutant) *cLab {
	l := &cLab{dir: filepath.Join(temp, "c"), setarch: "env"}
	if !slices.ContainsFunc(all, func(m mutant) bool { return m.kind == "c" }) {
		return l
	}
	tool.Check(os.MkdirAll(l.dir, 0o755))
	if noticed, _ := command(time.Minute, ".", nil, "setarch", "-R", "true"); !noticed {
		l.setarch = "setarch"
	}
	for _, sanitizer := range []string{"none", "asan", "tsan"} {
		for _, p := range append(hosts(), programs...) {
			args := map[string][]string{"none": p.none, "asan": p.asan, "tsan": p.tsan}[sanitizer]
			for _, arg := range args {
				l.runs = append(l.runs, &cRun{program: p, sanitizer: sanitizer, arg: arg})
			}
		}
	}
	l.code = map[string][]byte{}
	for _, f := range filesC {
		code, failed := plain(f.path, l.dir)
		if failed {
			tool.Check(fmt.Errorf("%s does not compile", f.path))
		}
		l.code[f.path] = code
	}
	return l
}

// prepare compiles what a run's mutants share, and measures how long the run takes without an edit.
// Only the runs that are needed are prepared.
func (l *cLab) prepare(r *cRun) {
	r.once.Do(func() {
		for _, s := range r.program.linked() {
			compiled(s, l.object(r, s), append(r.program.flags, sanitizers[r.sanitizer]...))
		}
		here, err := os.Getwd()
		tool.Check(err)
		program := l.name(r, "unedited")
		l.build(r, filepath.Join(here, r.program.file().path), program+".o", program)
		r.limit = 5 * time.Minute // for a hang, on a busy machine
		start := time.Now()
		noticed, out := l.run(r, program)
		if r.want = out; r.program.broken {
			start = time.Now()
			noticed, out = l.run(r, program)
		}
		if noticed {
			tool.Check(fmt.Errorf("%s fails without an edit: %s", r, out))
		}
		r.limit = patience(time.Since(start))
	})
}

// name is that of a file of the run's own.
func (l *cLab) name(r *cRun, part string) string {
	return filepath.Join(l.dir, strings.ReplaceAll(r.String(), " ", "-")+"-"+part)
}

func (l *cLab) object(r *cRun, s string) string {
	return l.name(r, strings.TrimSuffix(filepath.Base(s), ".c")+".o")
}

func compile(from, to string, flags ...string) (failed bool, out string) {
	arg := append([]string{"-std=gnu11", "-O1", "-g", "-I.", "-Iwakertest/c", "-Ichannel",
		"-Iaudit", "-Ihosts", "-Ihosts/archive"}, flags...)
	return command(5*time.Minute, ".", nil, "gcc", append(arg, "-c", from, "-o", to)...)
}

func compiled(from, to string, flags []string) {
	if failed, out := compile(from, to, flags...); failed {
		tool.Check(fmt.Errorf("%s: %s", from, out))
	}
}

// plain returns the code that a file compiles to, with eventfd and with pipes. An edit that
// does not change it is no mutant.
func plain(from, dir string) (code []byte, failed bool) {
	for _, flags := range [][]string{{"-O2", "-g0"}, {"-O2", "-g0", "-U__linux__", "-D_GNU_SOURCE"}} {
		to := filepath.Join(dir, "plain.o")
		if failed, _ := compile(from, to, flags...); failed {
			return nil, true
		}
		part, err := os.ReadFile(to)
		tool.Check(err)
		code = append(code, part...)
	}
	return code, false
}

// build compiles an edited file for the run, and links it.
func (l *cLab) build(r *cRun, library, object, out string) {
	if r.program.includes {
		flags := append(r.library(), fmt.Sprintf("-D%s=%q", r.program.file().macro, library))
		compiled(r.program.sources[0], object, flags)
	} else {
		compiled(library, object, r.library())
	}
	l.link(r, object, out)
}

func (l *cLab) link(r *cRun, object, out string) {
	link := append([]string{}, sanitizers[r.sanitizer]...)
	for _, s := range r.program.linked() {
		link = append(link, l.object(r, s))
	}
	link = append(link, object)
	if r.program.archive {
		link = append(link, l.archive()) // the edited file's functions are found before its own
	}
	link = append(append(link, "-pthread", "-o", out), r.program.link...)
	if noticed, text := command(5*time.Minute, ".", nil, "gcc", link...); noticed {
		tool.Check(fmt.Errorf("%s", text))
	}
}

// archive builds libffiwaker.a once.
func (l *cLab) archive() string {
	path, err := filepath.Abs(filepath.Join(l.dir, "libffiwaker.a"))
	tool.Check(err)
	l.built.Do(func() {
		failed, out := command(10*time.Minute, "hosts/lib", nil, "go", "build",
			"-buildmode=c-archive", "-o", path, ".")
		if failed {
			tool.Check(fmt.Errorf("libffiwaker.a: %s", out))
		}
	})
	return path
}

func (l *cLab) run(r *cRun, program string) (noticed bool, out string) {
	name, arg := program, strings.Fields(r.arg)
	if r.sanitizer == "tsan" && l.setarch == "setarch" {
		name, arg = "setarch", append([]string{"-R", program}, arg...)
	}
	if r.program.broken {
		noticed, out = command(r.limit, ".", nil, "sh", "-c", `"$0" list | while IFS="	" read -r n k _
			do
				[ "$k" = executor ] && continue # may never end
				echo "$n"; timeout 20 "$0" audit "$n" 2>/dev/null | sort -u
			done`, program)
		return noticed || out != r.want, out
	}
	if r.program.prints != "" {
		noticed, out = command(r.limit, ".", nil, "sh", "-c", name+" 2>/dev/null")
		want, err := os.ReadFile(r.program.prints)
		tool.Check(err)
		out = strings.ReplaceAll(out, filepath.Base(program), r.program.name) // sites prints it
		return noticed || strings.TrimSpace(out) != strings.TrimSpace(string(want)), out
	}
	return command(r.limit, ".", []string{
		"RAWWAKER_TEST_SECONDS=5", "TSAN_OPTIONS=halt_on_error=1", "ASAN_OPTIONS=detect_leaks=1",
	}, name, arg...)
}

// byCode runs the edited file itself under loom. What a storm of threads notices of a step that has
// become two is chance; the model tries each order of the steps.
func byCode(file string, m mutant, hint string) verdict {
	macro := fileC(m.file).macro
	scenario, hinted := strings.CutPrefix(hint, "code ")
	if macro == "" || hint != "" && !hinted {
		return verdict{}
	}
	run := []string{"notices"}
	if hinted {
		run = append(run, scenario)
	}
	failed, out := command(10*time.Minute, ".", []string{macro + "=" + file},
		"internal/proof/model/code/run", run...)
	if _, by, ok := strings.Cut(out, "FAIL code "); failed && ok {
		scenario, _, _ = strings.Cut(by, ":")
		return verdict{by: "code " + scenario}
	}
	return verdict{}
}

func (l *cLab) try(dir string, m mutant, hint string) verdict {
	tool.Check(os.MkdirAll(dir, 0o755))
	file := filepath.Join(dir, filepath.Base(m.file))
	tool.Check(os.WriteFile(file, m.text, 0o644))
	if code, failed := plain(file, dir); failed {
		return verdict{none: "does not compile"}
	} else if bytes.Equal(code, l.code[m.file]) {
		return verdict{none: "same code"}
	}
	if strings.Contains(m.key, tornEdit) {
		if v := byCode(file, m, hint); v.by != "" {
			return v
		}
	}
	object := filepath.Join(dir, "edited.o")
	as, linked := "", ""
	var runs []*cRun
	for _, r := range l.runs {
		if r.program.file().path == m.file {
			runs = append(runs, r)
		}
	}
	try := func(r *cRun) bool {
		l.prepare(r)
		program := filepath.Join(dir, r.program.name)
		library := fmt.Sprint(r.library(), r.program.includes)
		if as != library {
			l.build(r, file, object, program)
			as, linked = library, r.program.name
		} else if linked != r.program.name {
			l.link(r, object, program)
			linked = r.program.name
		}
		noticed, _ := l.run(r, program)
		return noticed
	}
	for range *rounds {
		for _, r := range runs {
			if hint == r.String() && try(r) {
				return verdict{by: hint}
			}
		}
	}
	for range *rounds {
		for _, r := range runs {
			if try(r) {
				return verdict{by: r.String()}
			}
		}
	}
	return verdict{}
}
