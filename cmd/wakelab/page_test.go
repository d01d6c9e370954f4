//go:build cgo && linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// browser returns a browser for one test. The test fails if the page logs an error or makes a
// request.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no chromium")
	}
	on := func(flag string) chromedp.ExecAllocatorOption { return chromedp.Flag(flag, true) }
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), chromedp.ExecPath(path),
		chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 900),
		on("headless"), on("disable-gpu"), on("disable-quic"), on("disable-component-update"),
		on("disable-background-networking"), on("disable-sync"), chromedp.NoFirstRun)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 10*time.Minute)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Listen(ctx, func(e any) {
		switch e := e.(type) {
		case *log.EventEntryAdded:
			t.Errorf("the page logs: %s", e.Entry.Text)
		case *network.EventRequestWillBeSent:
			url := e.Request.URL
			if !strings.HasPrefix(url, "file:") && !strings.HasPrefix(url, "data:") {
				t.Errorf("the page requests %s", url)
			}
		}
	}))
	call(t, ctx, log.Enable, cdp.Empty{})
	call(t, ctx, network.Enable, network.EnableParams{})
	return ctx
}

func call[P, R any](t *testing.T, ctx context.Context, cmd cdp.Command[P, R], params P) R {
	t.Helper()
	r, err := chromedp.Call(ctx, cmd, params)
	require.NoError(t, err)
	return r
}

func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	require.NoError(t, chromedp.Do(ctx, steps...))
}

func eval[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	require.NoError(t, err)
	return v
}

// open loads a page and waits for its first event.
func open(t *testing.T, ctx context.Context, url string) {
	t.Helper()
	do(t, ctx, chromedp.Navigate(url), chromedp.WaitVisible(chromedp.CSS("#event1")))
}

// pageOf writes the page of an example, and returns its address.
func pageOf(t *testing.T, args ...string) (url, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "page.html")
	out, errs, status := lab(append([]string{"trace", "--html", file}, args...)...)
	require.Zero(t, status, errs)
	require.Empty(t, out)
	return "file://" + file, file
}

func texts(ctx context.Context, t *testing.T, selectors ...string) (all []string) {
	t.Helper()
	for _, s := range selectors {
		text, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS(s)))
		require.NoError(t, err)
		all = append(all, strings.TrimSpace(text))
	}
	return all
}

func TestPage(t *testing.T) {
	// The article's countdown has four polls and three wakes: read from the page step by step, with
	// the keyboard alone, forwards and backwards.
	t.Run("steps_through_the_countdown", func(t *testing.T) {
		ctx := browser(t)
		url, _ := pageOf(t, "countdown")
		open(t, ctx, url)
		press := func(key string) {
			t.Helper()
			do(t, ctx, chromedp.KeyEvent(key))
		}
		require.Equal(t, []string{"0", "0"}, texts(ctx, t, "#polls", "#wakes"))

		seen, back := []string{}, []string{}
		press(kb.End)
		end := texts(ctx, t, "#polls", "#wakes", "#at")
		require.Equal(t, []string{"4", "3"}, end[:2])
		var at, count int
		_, err := fmt.Sscanf(end[2], "%d of %d", &at, &count)
		require.NoError(t, err)
		require.Equal(t, count, at)

		press(kb.Home)
		step := func() string {
			s := texts(ctx, t, "#polls", "#wakes", "#now b")
			return strings.Join(s, " ")
		}
		for range count - 1 {
			seen = append(seen, step())
			press(kb.ArrowRight)
		}
		require.Contains(t, seen, "1 0 polls CountdownFuture")
		require.Contains(t, seen, "1 1 wakes CountdownFuture by reference")
		require.Contains(t, seen, "4 3 polls CountdownFuture")
		for range count - 1 {
			press(kb.ArrowLeft)
			back = append([]string{step()}, back...)
		}
		require.Equal(t, seen, back, "backwards it shows the same")

		// The letters go to the next wake and the next poll.
		press(kb.Home)
		for i := range 3 {
			press("w")
			require.Equal(t, fmt.Sprint(i+1), texts(ctx, t, "#wakes")[0])
			press("p")
			require.Equal(t, fmt.Sprint(i+2), texts(ctx, t, "#polls")[0])
		}
		// The scrubber uses the arrow keys itself, and can get the focus.
		do(t, ctx, chromedp.Focus(chromedp.CSS("#scrub")), chromedp.KeyEvent(kb.Home))
		require.True(t, strings.HasPrefix(texts(ctx, t, "#at")[0], "1 of "))
		press(kb.ArrowRight)
		require.True(t, strings.HasPrefix(texts(ctx, t, "#at")[0], "2 of "))
	})
	t.Run("shows_the_sixteen_bytes_and_the_box_of_a_waker_that_crosses", func(t *testing.T) {
		ctx := browser(t)
		url, _ := pageOf(t, "c-thread")
		open(t, ctx, url)
		do(t, ctx, chromedp.KeyEvent("w"))
		waker := texts(ctx, t, "#waker")[0]
		require.Contains(t, waker, "sixteen bytes")
		require.Contains(t, waker, "rawwaker_box_vtable")
		for _, field := range []string{"refs", "queued", "closed", "sink", "id"} {
			require.Contains(t, waker, field)
		}
		require.Equal(t, 16, eval[int](t, ctx, `document.querySelectorAll("#waker .bytes span").length`))
		require.Regexp(t, `^wakes .*, and consumes reference \d+`, texts(ctx, t, "#now b")[0])
	})
	t.Run("without_events_says_so", func(t *testing.T) {
		ctx := browser(t)
		dir := t.TempDir()
		file, page := filepath.Join(dir, "trace"), filepath.Join(dir, "page.html")
		text := `{"ns":0,"what":"trace","version":1,"pid":1,"program":"p"}` + "\n"
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		_, errs, status := lab("trace", "--from", file, "--html", page)
		require.Zero(t, status, errs)
		do(t, ctx, chromedp.Navigate("file://"+page))
		require.Equal(t, []string{"Nothing happened."}, texts(ctx, t, "#now"))
	})
	t.Run("names_each_control_for_screen_readers", func(t *testing.T) {
		ctx := browser(t)
		url, _ := pageOf(t, "countdown")
		open(t, ctx, url)
		nodes := call(t, ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes
		named := map[string]int{}
		for _, n := range nodes {
			if n.Ignored || n.Role == nil {
				continue
			}
			role := strings.Trim(string(n.Role.Value), `"`)
			switch role {
			case "button", "slider", "combobox", "listbox", "option", "group", "image", "toolbar",
				"link", "textbox", "checkbox", "table":
				name := ""
				if n.Name != nil {
					name = strings.Trim(string(n.Name.Value), `"`)
				}
				require.NotEmpty(t, name, "a %s", role)
				named[role]++
			}
		}
		require.Equal(t, 5, named["button"])
		require.Equal(t, 1, named["slider"])
		require.Equal(t, 3, named["combobox"])
		require.GreaterOrEqual(t, named["listbox"], 1)
		require.Positive(t, named["option"])
	})
	// These are docs/page-light.png and docs/page-dark.png. The test writes them to the folder
	// WAKELAB_SHOTS, if it is set.
	t.Run("has_a_light_and_a_dark_form", func(t *testing.T) {
		ctx := browser(t)
		url, _ := pageOf(t, "c-thread")
		shots := map[string][]byte{}
		for _, scheme := range []string{"light", "dark"} {
			feature := &emulation.MediaFeature{Name: "prefers-color-scheme", Value: scheme}
			call(t, ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{feature},
			})
			do(t, ctx, chromedp.EmulateViewport(1280, 860))
			open(t, ctx, url)
			do(t, ctx, chromedp.KeyEvent("w"))
			background := eval[string](t, ctx, `getComputedStyle(document.body).backgroundColor`)
			shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
			require.NoError(t, err)
			shots[scheme] = shot
			require.Equal(t, map[string]string{
				"light": "rgb(251, 250, 247)", "dark": "rgb(20, 23, 28)",
			}[scheme], background)
			if dir := os.Getenv("WAKELAB_SHOTS"); dir != "" {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "page-"+scheme+".png"), shot, 0o644))
			}
		}
		require.NotEqual(t, shots["light"], shots["dark"])
	})
	// 100,000 events: the page shows its first row, and scrolls to any place.
	t.Run("of_a_hundred_thousand_events_opens_and_scrolls", func(t *testing.T) {
		if testing.Short() {
			t.Skip("it makes a large trace")
		}
		ctx := browser(t)
		url, file := pageOf(t, "storm", "--size", "100000")
		info, err := os.Stat(file)
		require.NoError(t, err)
		do(t, ctx, chromedp.Navigate("about:blank"))
		start := time.Now()
		open(t, ctx, url)
		opened := time.Since(start)
		count := eval[int](t, ctx, `events.length`)
		require.GreaterOrEqual(t, count, 100_000)
		rows := eval[int](t, ctx, `document.querySelectorAll(".row").length`)
		end := chromedp.CSS(fmt.Sprintf("#event%d", count))
		do(t, ctx, chromedp.KeyEvent(kb.End), chromedp.WaitVisible(end))
		last := texts(ctx, t, `[aria-selected="true"] i`)[0]
		frames := eval[float64](t, ctx, `(() => {
			const t = performance.now();
			for (let k = 0; k < 60; k++) { lanes.scrollLeft = k * 40000; draw(); rows(); }
			return (performance.now() - t) / 60;
		})()`)
		require.Less(t, rows, 100, "only what is in view exists")
		require.Equal(t, fmt.Sprint(count), last)
		t.Logf("%d events, %.1f MB: open in %v, %.1f ms for a frame while it scrolls",
			count, float64(info.Size())/1e6, opened.Round(time.Millisecond), frames)
	})
}
