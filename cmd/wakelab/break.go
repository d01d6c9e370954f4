package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-8a1b3254/ffiwaker"
	"github.com/seed-8a1b3254/ffiwaker/audit"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/broken"
	"github.com/seed-8a1b3254/ffiwaker/wakertest"
)

func breakCommand(out *output) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "break [MISUSE]",
		Short: "a faulty waker or future: the rule it breaks, and which tool reports it",
		Long: `Runs a faulty waker, future or executor of internal/test/broken in a process of its own. It
shows the paragraph of the contract that it breaks, and the reports of the tools that find it: the
conformance kit, the auditor, AddressSanitizer, ThreadSanitizer or Go's race detector. gcc compiles
those in C. Without a name it lists them all.`,
		Example:   "  wakelab break\n  wakelab break wakes_then_drops\n  wakelab break go_never_wakes",
		ValidArgs: brokenNames(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("one at a time; there is %q, too", args[1])
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				listBroken(out)
				return nil
			}
			e, err := find("misuse", args[0], faulty(), func(e broken.Entry) string { return e.Name })
			if err != nil {
				return err
			}
			return showBroken(out, e, all)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "show everything that the tools print")
	c.AddCommand(&cobra.Command{
		Use: "child NAME", Hidden: true, Args: cobra.ExactArgs(1), // the process of an entry in Go
		RunE: func(_ *cobra.Command, args []string) error {
			e, err := find("misuse", args[0], faulty(), func(e broken.Entry) string { return e.Name })
			if err != nil {
				return err
			}
			return runKit(e)
		},
	})
	return c
}

// faulty returns all entries but the sound ones.
func faulty() (all []broken.Entry) {
	for _, e := range slices.Concat(broken.Entries(), broken.InGo()) {
		if !strings.HasPrefix(e.Name, "sound") {
			all = append(all, e)
		}
	}
	return all
}

func brokenNames() (names []string) {
	for _, e := range faulty() {
		names = append(names, e.Name)
	}
	return names
}

func listBroken(out io.Writer) {
	kind := ""
	for _, e := range faulty() {
		in := "C"
		if e.Go {
			in = "Go"
		}
		title := fmt.Sprintf("%ss in %s", e.Kind, in)
		if e.Kind == "user" {
			title = "users of a sound waker, in C"
		}
		if title != kind {
			if kind != "" {
				line(out, "")
			}
			kind = title
			line(out, "%s", title)
		}
		line(out, "  %-31s %s", e.Name, e.Does)
	}
}

func showBroken(out io.Writer, e broken.Entry, all bool) error {
	show := showBrokenC
	if e.Go {
		show = showBrokenGo
	}
	var tools bytes.Buffer
	if err := show(&tools, e, all); err != nil { // before anything is printed
		return err
	}
	line(out, "%s, a faulty %s: %s\n", e.Name, e.Kind, e.Does)
	showContract(out, e)
	_, err := out.Write(tools.Bytes())
	return err
}

// showContract prints the rules that e breaks, and their paragraphs of rawwaker.h.
func showContract(out io.Writer, e broken.Entry) {
	rules := slices.Concat(
		wakertest.WakerRules(), wakertest.FutureRules(), wakertest.ExecutorRules())
	if e.Kind == "stream" {
		rules = wakertest.StreamRules()
	}
	for _, r := range rules {
		if r.Name == e.Kit {
			line(out, "The rule that the kit names, %s:\n    %s\n", r.Name, r.Rule)
		}
	}
	if e.Audit != "" {
		line(out, "The rule that the auditor names, %s:\n    %s\n", e.Audit, auditRule(e.Audit))
	}
	shown := ""
	for _, rule := range []string{e.Audit, e.Kit} {
		number, text := contract(paragraph[rule])
		if text != "" && text != shown {
			line(out, "The contract, rawwaker.h:%d\n%s", number, text)
		}
		shown = text
	}
}

// auditRule returns the text that the auditor prints for a rule.
func auditRule(name string) string {
	source, err := audit.Sources.ReadFile("rawwaker_audit.c")
	pattern := regexp.MustCompile(`find(?:_sender)?\("` + regexp.QuoteMeta(name) + `", "([^"]+)"`)
	if m := pattern.FindSubmatch(source); err == nil && m != nil {
		return string(m[1])
	}
	return "see rawwaker_audit.h"
}

// paragraph maps a rule to the word under which the contract in rawwaker.h has it.
var paragraph = func() map[string]string {
	m := map[string]string{}
	for word, rules := range map[string]string{
		"Ownership": `clone_is_a_reference wake_consumes wake_by_ref_borrows drop_wakes_nobody
			references_balance context_is_borrowed drop_before_the_poll drop_while_pending
			drop_after_ready out_only_when_ready close_drops_the_rest double_drop use_after_drop
			borrowed_consumed use_after_poll leak forgotten future_double_drop result_too_large
			null_out double_return wake_after_the_end waker_outlives_its_task
			drop_before_the_end drop_after_the_end sender_use_after sender_forgotten
			item_only_when_ready drop_between_items drop_after_done`,
		"Threads": `storm unknown_thread polls_on_any_thread drop_beside_the_wake executor_storm
			slots_overlap sender_in_signal`,
		"Promises": `wake_before_the_poll wake_during_the_poll wake_after_the_poll
			pending_keeps_a_waker wakes_when_it_can_go_on latest_waker_is_woken polls_every_task
			wake_inside_the_poll spawn_inside_a_poll set_before_wake pending_without_waker
			poll_after_ready no_such_code items_in_order wakes_at_its_end end_is_repeated
			a_panic_is_the_end done_is_repeated one_wake_for_many_items items_from_a_thread`,
		"Wakes": `wakes_coalesce wakes_publish unasked_poll poll_sees_what_wakes_publish`,
		"Slots": `drop_inside_wake clone_inside_wake slots_under_a_lock wakes_under_no_lock
			clones_under_no_lock wake_from_another_thread slot_under_lock`,
		"Vtables": `complete_vtable clone_may_change_data will_wake complete_future_vtable
			complete_stream_vtable empty_clone`,
	} {
		for _, rule := range strings.Fields(rules) {
			m[rule], m["stream_"+rule] = word, word // the kit in C has two tables
		}
	}
	return m
}()

// contract returns a paragraph of the contract in rawwaker.h, and the line on which it begins.
func contract(word string) (number int, text string) {
	header, err := ffiwaker.Sources.ReadFile("rawwaker.h")
	if err != nil || word == "" {
		return 0, ""
	}
	for i, l := range strings.Split(string(header), "\n") {
		body := strings.TrimPrefix(l, " *   ")
		switch {
		case number == 0 && strings.HasPrefix(body, word+" "):
			number, text = i+1, "    "+body+"\n"
		case number != 0 && strings.HasPrefix(body, "     "):
			text += "    " + body + "\n"
		case number != 0:
			return number, text
		}
	}
	return number, text
}

// ---- Entries in C

// workshop is a temporary folder with the sources, and the programs built from them.
type workshop struct {
	ctx     context.Context
	dir, cc string
	close   func()
}

func openWorkshop() (*workshop, error) {
	cc, err := exec.LookPath("gcc")
	if err != nil {
		return nil, errors.New("no gcc on the PATH to compile those in C (those in Go need none)")
	}
	ctx, dir, done, err := scratch(30 * time.Minute)
	if err != nil {
		return nil, err
	}
	w := &workshop{ctx, dir, cc, done}
	for to, from := range map[string]embed.FS{
		"root": ffiwaker.Sources, "audit": audit.Sources, "kit": wakertest.C,
		"broken": broken.Sources,
	} {
		if err := os.CopyFS(filepath.Join(dir, to), from); err != nil {
			w.close()
			return nil, err
		}
	}
	return w, nil
}

func (w *workshop) build(name string, flags ...string) (string, error) {
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Minute)
	defer cancel()
	program := filepath.Join(w.dir, name)
	args := append([]string{"-std=gnu11", "-g", "-O1", "-w", "-rdynamic"}, flags...)
	args = append(args, "-Iroot", "-Iaudit", "-Ikit/c", "-Ibroken", "broken/run/main.c",
		"kit/c/rawwaker_test.c", "root/rawwaker.c", "audit/rawwaker_audit.c")
	files, err := fs.Glob(broken.Sources, "*.c")
	if err != nil {
		return "", err
	}
	for _, f := range files {
		args = append(args, "broken/"+f)
	}
	_, err = outputOf(ctx, w.dir, w.cc, append(args, "-pthread", "-o", program)...)
	return program, err
}

// try runs a program that may fail, crash or hang.
func (w *workshop) try(env []string, program string, args ...string) string {
	ctx, cancel := context.WithTimeout(w.ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = w.dir
	cmd.WaitDelay = time.Second
	cmd.Env = append(append(os.Environ(), "RAWWAKER_TEST_SECONDS=0.5"), env...)
	text, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || !exit.Exited()) {
		text = fmt.Appendf(text, "\nthe process ended with: %v\n", err)
	}
	return string(text)
}

func showBrokenC(out io.Writer, e broken.Entry, all bool) error {
	w, err := openWorkshop()
	if err != nil {
		return err
	}
	defer w.close()
	plain, err := w.build("plain")
	if err != nil {
		return err
	}
	only := []string{"RAWWAKER_TEST_ONLY=" + e.Kit}
	if e.Kit != "" && !e.Detector {
		report(out, "The conformance kit (wakertest/c) reports",
			failing(w.try(nil, plain, "kit", e.Name), e.Kit), most(all, 8))
	}
	if e.Audit != "" {
		report(out, "The auditor (rawwaker_audit) reports",
			w.try(nil, plain, "audit", e.Name), most(all, 14))
	}
	if e.Kit != "" && !e.Detector {
		program, err := w.build("asan", "-fsanitize=address", "-fno-omit-frame-pointer")
		if err == nil {
			text := w.try(append(only, "ASAN_OPTIONS=detect_leaks=0"), program, "kit", e.Name)
			text = from(text, "ERROR: AddressSanitizer")
			if text == "" {
				text = "nothing: no freed memory is used"
			}
			report(out, "AddressSanitizer reports", text, most(all, 10))
		}
	}
	if e.Detector {
		program, err := w.build("tsan", "-fsanitize=thread")
		if err != nil {
			return err
		}
		args := []string{program, "kit", e.Name}
		if setarch, err := exec.LookPath("setarch"); err == nil {
			// Without it, some kernels map memory where ThreadSanitizer needs its own.
			args = append([]string{setarch, "-R"}, args...)
		}
		text := from(w.try(only, args[0], args[1:]...), "WARNING: ThreadSanitizer")
		if text == "" {
			text = "nothing: it does not run here, or the threads did not meet. Try again."
		}
		report(out, "ThreadSanitizer reports, which no other tool can", text, most(all, 16))
	}
	return nil
}

// failing returns the lines of TAP about the scenarios that fail, the one named first on top.
func failing(tap, first string) string {
	var b, others strings.Builder
	to := &others
	inside := false
	for l := range strings.Lines(tap) {
		switch {
		case strings.HasPrefix(l, "not ok"):
			inside = true
			if to = &others; strings.HasSuffix(strings.TrimSpace(l), " - "+first) {
				to = &b
			}
		case strings.HasPrefix(l, "#") || strings.HasPrefix(l, "the process"):
		default:
			inside = false
		}
		if inside {
			to.WriteString(l)
		}
	}
	return b.String() + others.String()
}

// from returns the text from the line on that contains what.
func from(text, what string) string {
	i := strings.Index(text, what)
	if i < 0 {
		return ""
	}
	return text[strings.LastIndexByte(text[:i], '\n')+1:]
}

// report prints the first lines of a tool's report, without the path of the temporary folder.
func report(out io.Writer, title, text string, most int) {
	line(out, "%s:", title)
	lines := strings.Split(strings.TrimSpace(temporary.ReplaceAllString(text, "")), "\n")
	for i, l := range lines {
		if i == most {
			line(out, "    ... %d more lines: --all", len(lines)-most)
			break
		}
		line(out, "    %s", l)
	}
	line(out, "")
}

// most returns how many lines to show.
func most(all bool, few int) int {
	if all {
		return math.MaxInt
	}
	return few
}

var temporary = regexp.MustCompile(`/[^ ()]*/wakelab[0-9]+/`)

// ---- Entries in Go

func showBrokenGo(out io.Writer, e broken.Entry, all bool) error {
	ctx, stop := interruptible(30 * time.Minute)
	defer stop()
	if !e.Detector {
		output, err := self(ctx, nil, "break", "child", e.Name) // it fails, as it must
		_, text, ran := strings.Cut(string(output), "=== RUN   kit/"+e.Kit+"\n")
		if !ran {
			return fmt.Errorf("the kit did not reach the scenario %s: %w", e.Kit, err)
		}
		text, _, _ = strings.Cut(text, "\n=== RUN")
		report(out, "The conformance kit (package wakertest) reports", text, most(all, 6))
		return nil
	}
	dir, err := moduleDir(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "run", "-race", "./cmd/wakelab", "break", "child", e.Name)
	cmd.Dir = dir
	output, _ := cmd.CombinedOutput()
	text := from(string(output), "WARNING: DATA RACE")
	if text == "" {
		text = "nothing: " + string(output)
	}
	report(out, "Go's race detector reports, which no other tool can", text, most(all, 16))
	return nil
}

// moduleDir returns the folder of this module's source.
func moduleDir(ctx context.Context) (string, error) {
	const module = "github.com/seed-8a1b3254/ffiwaker"
	dir, err := outputOf(ctx, ".", "go", "list", "-m", "-f", "{{.Dir}}", module)
	if dir = strings.TrimSpace(dir); err != nil || dir == "" {
		if err == nil {
			err = errors.New("its source is missing")
		}
		return "", fmt.Errorf("needs the go command, run inside %s or a module that requires it: %w",
			module, err)
	}
	return dir, nil
}
