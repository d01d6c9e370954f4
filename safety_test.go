package ffiwaker_test

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker"
	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

const module = "github.com/seed-8a1b3254/ffiwaker"

// run runs a command in dir and returns what it printed, both streams.
func run(t *testing.T, dir string, env []string, name string, arg ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, arg...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func mustRun(t *testing.T, dir string, env []string, name string, arg ...string) string {
	t.Helper()
	out, err := run(t, dir, env, name, arg...)
	require.NoError(t, err, "%s %s\n%s", name, strings.Join(arg, " "), out)
	return out
}

// need skips the test where a program is not installed. It is no failure: CI has them all.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("no %s here", program)
	}
	return path
}

// read makes the test depend on the files, so that the test cache sees their edits, which it does not where a compiler
// alone reads them.
func read(t *testing.T, files ...string) {
	t.Helper()
	for _, f := range files {
		_, err := os.ReadFile(f)
		require.NoError(t, err)
	}
}

func TestTheGoStructsLieAsTheCompilerOfCLaysThem(t *testing.T) {
	if !capi.HasCgo {
		t.Skip("no compiler of C in this build")
	}
	twins := map[string]reflect.Type{
		"rawwaker":        reflect.TypeFor[rawwaker.RawWaker](),
		"rawwaker_vtable": reflect.TypeFor[rawwaker.VTable](),
		"rawwaker_notice": reflect.TypeFor[capi.Notice](),

		"rawwaker_future":        reflect.TypeFor[rawwaker.RawFuture](),
		"rawwaker_future_vtable": reflect.TypeFor[rawwaker.FutureVTable](),
	}
	for _, c := range capi.Layouts() {
		g, ok := twins[c.Name]
		if !ok {
			continue
		}
		delete(twins, c.Name)
		require.Equal(t, c.Size, g.Size(), c.Name)
		require.Equal(t, len(c.Fields), g.NumField(), c.Name)
		for i, f := range c.Fields {
			gf := g.Field(i)
			require.Equal(t, strings.ReplaceAll(f.Name, "_", ""), strings.ToLower(gf.Name), c.Name)
			require.Equal(t, f.Offset, gf.Offset, "%s.%s", c.Name, f.Name)
			require.Equal(t, f.Size, gf.Type.Size(), "%s.%s", c.Name, f.Name)
		}
	}
	require.Empty(t, twins, "C does not know these")
}

func TestTheVersionOfTheABIIsTheSameEverywhere(t *testing.T) {
	header, err := ffiwaker.Sources.ReadFile("rawwaker.h")
	require.NoError(t, err)
	require.Contains(t, string(header), fmt.Sprintf("#define RAWWAKER_ABI_VERSION %d\n", ffiwaker.ABIVersion))
	require.EqualValues(t, ffiwaker.ABIVersion, capi.LinkedABIVersion())
}

func TestEveryCFunctionCarriesItsContractLine(t *testing.T) {
	for header, functions := range map[string]struct {
		find string
		n    int
	}{
		"rawwaker.h":       {`(?s)((?:/\*[^/]*?\*/\n)?)RAWWAKER_API [^;(]*?(rawwaker_\w+)\(`, 20},
		"hosts/ffiwaker.h": {`(?s)((?:/\*[^/]*?\*/\n)?)FFIWAKER_API [^;(]*?(ffiwaker_\w+)\(`, 16},
	} {
		text, err := os.ReadFile(header)
		require.NoError(t, err)
		found := regexp.MustCompile(functions.find).FindAllSubmatch(text, -1)
		require.GreaterOrEqual(t, len(found), functions.n, header)
		for _, f := range found {
			for _, part := range []string{"takes ", "| gives ", "| threads ", "| signals ", "| fails"} {
				require.Contains(t, strings.ReplaceAll(string(f[1]), "\n *", ""), part, "%s", f[2])
			}
		}
	}
}

// The arrows between the rooms: who must not reach whom, and what must not be imported where.
func TestNoRoomKnowsOneThatItMustNot(t *testing.T) {
	rooms := []string{"rawwaker", "blockon", "executor", "future", "wakertest", "cmd/wakelab"}
	may := map[string][]string{
		"internal/wake": nil,
		"rawwaker":      nil,
		"blockon":       {"rawwaker"},
		"executor":      {"rawwaker"},
		"future":        {"rawwaker"},
	}
	for room, allowed := range may {
		if _, err := os.Stat(room); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		deps := strings.Fields(mustRun(t, ".", nil, "go", "list", "-deps", "./"+room))
		for _, other := range rooms {
			if other == room || reflect.DeepEqual(allowed, []string{other}) {
				continue
			}
			require.NotContains(t, deps, module+"/"+other, "%s must not reach %s", room, other)
		}
		if room == "future" {
			imports := mustRun(t, ".", nil, "go", "list", "-f", `{{join .Imports "\n"}}`, "./"+room)
			imports = strings.ReplaceAll(imports, module+"/internal/wake", "") // for wake.Each
			require.NotContains(t, imports, "/internal/", "future uses rawwaker's public names")
		}
	}
	for room, never := range map[string][]string{
		"rawwaker": {"C"}, "internal/wake": {"C"}, "blockon": {"C", "unsafe"}, "executor": {"C", "unsafe"},
		"future": {"C", "unsafe"}, "cmd/wakelab": {"C", "unsafe"},
	} {
		files, _ := filepath.Glob(room + "/*.go")
		for _, f := range files {
			text, err := os.ReadFile(f)
			require.NoError(t, err)
			for _, n := range never {
				if !strings.HasSuffix(f, "_test.go") {
					require.NotRegexp(t, `(?m)^(import )?\s*"`+n+`"`, string(text), f)
				}
			}
		}
	}
}

func TestEveryUnsafeLineSaysWhyItHolds(t *testing.T) {
	use := regexp.MustCompile(`unsafe\.Pointer\(`)
	for _, room := range []string{".", "internal/capi", "internal/trace", "rawwaker", "internal/wake"} {
		files, _ := filepath.Glob(filepath.Join(room, "*.go"))
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			text, err := os.ReadFile(f)
			require.NoError(t, err)
			lines := strings.Split(string(text), "\n")
			for i, line := range lines {
				if use.MatchString(line) && !strings.HasPrefix(line, "//") {
					above := strings.Join(lines[max(0, i-6):i+1], "\n")
					require.Contains(t, above, "SAFETY:", "%s:%d: %s", f, i+1, line)
				}
			}
		}
	}
}

func TestTwoFilesMakeAProgramInC(t *testing.T) {
	read(t, "rawwaker.h", "rawwaker.c", "internal/test/purec/host.c")
	gcc := need(t, "gcc")
	host := filepath.Join(t.TempDir(), "host")
	out := mustRun(t, ".", nil, gcc, "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I.",
		"internal/test/purec/host.c", "rawwaker.c", "-pthread", "-o", host)
	require.Empty(t, out)
	require.Equal(t, "Result: 42\n", mustRun(t, ".", nil, host))
}

func TestTheHeaderIsCPlusPlusToo(t *testing.T) {
	read(t, "rawwaker.h", "internal/test/purec/header.cpp")
	mustRun(t, ".", nil, need(t, "g++"), "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I.",
		"-fsyntax-only", "internal/test/purec/header.cpp")
}

func TestOutOfDescriptorsAtTheStartIsAnErrorAndNoHang(t *testing.T) {
	needCgo(t)
	if runtime.GOOS != "linux" {
		t.Skip("counts on what Go opens on linux")
	}
	readModule(t)
	read(t, "internal/test/racy/main.go", "internal/test/racy/c.go", "internal/test/ctest/ctest.c")
	racy := filepath.Join(t.TempDir(), "racy")
	mustRun(t, ".", nil, "go", "build", "-o", racy, "./internal/test/racy")
	worked := false
	for n := 4; n <= 16; n++ {
		out, err := run(t, ".", nil, "sh", "-c", fmt.Sprintf("exec 3>&- 4>&- 5>&-; ulimit -n %d; exec %s correct-c", n, racy))
		if worked = worked || err == nil; err != nil {
			require.False(t, worked, "with %d descriptors, but not with %d: %s", n-1, n, out)
			require.Contains(t, out, "rawwaker: ffiwaker: no descriptor for wakes from C: too many open files", "%d", n)
		}
	}
	require.True(t, worked)
}

// consumer is a program of somebody else's.
const consumer = `package main

import (
	"fmt"

	"` + module + `/blockon"
	"` + module + `/future"
	"` + module + `/rawwaker"
)

func main() {
	w := rawwaker.FromRaw(rawwaker.Noop().IntoRaw())
	defer w.Drop()
	fmt.Println("Result:", blockon.BlockOn(future.Async(func(aw *future.Awaiter) int {
		future.Await(aw, future.Yield())
		return 42
	})))
}
`

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
}

// readModule makes a test depend on what another go command will compile.
func readModule(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"*.go", "rawwaker.*", "audit/*", "internal/capi/*", "hosts/*.h", "hosts/archive/*", "rawwaker/*.go", "blockon/*.go", "executor/*.go", "future/*.go", "internal/wake/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		read(t, files...)
	}
}

func needCgo(t *testing.T) {
	t.Helper()
	if !capi.HasCgo {
		t.Skip("needs cgo")
	}
}

func TestAModuleThatVendorsThisOneBuildsAndRuns(t *testing.T) {
	needCgo(t)
	readModule(t)
	here, err := os.Getwd()
	require.NoError(t, err)
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"main.go": consumer,
		"go.mod": "module example.com/consumer\n\ngo 1.26\n\nrequire " + module + " v0.0.0\n\nreplace " + module +
			" => " + here + "\n",
	})
	mustRun(t, dir, []string{"GOFLAGS=-mod=mod"}, "go", "mod", "tidy")
	mustRun(t, dir, []string{"GOFLAGS=-mod=mod"}, "go", "mod", "vendor")
	require.FileExists(t, filepath.Join(dir, "vendor", module, "rawwaker.c"))
	require.FileExists(t, filepath.Join(dir, "vendor", module, "rawwaker.h"))
	require.Equal(t, "Result: 42\n", mustRun(t, dir, []string{"GOFLAGS=-mod=vendor"}, "go", "run", "."))
}

// What a package includes of another folder is there in a vendored copy only if a Go package embeds it.
func TestVendoring(t *testing.T) {
	needCgo(t)
	readModule(t)
	here, err := os.Getwd()
	require.NoError(t, err)
	library := "package main\n\nimport \"C\"\n\nimport (\n"
	for _, pkg := range strings.Fields(mustRun(t, ".", nil, "go", "list", "-f", `{{if ne .Name "main"}}{{.ImportPath}}{{end}}`, "./...")) {
		if !strings.Contains(pkg, "/internal/") {
			library += "\t_ \"" + pkg + "\"\n"
		}
	}
	require.Contains(t, library, module+"/hosts/archive")
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"main.go": library + ")\n\nfunc main() {}\n",
		"host.c_": "#include \"ffiwaker.h\"\nint main(void) { return rawwaker_block_on(ffiwaker_sleep(1), 0); }\n",
		"go.mod": "module example.com/consumer\n\ngo 1.26\n\nrequire " + module + " v0.0.0\n\nreplace " + module +
			" => " + here + "\n",
	})
	mustRun(t, dir, []string{"GOFLAGS=-mod=mod"}, "go", "mod", "tidy")
	mustRun(t, dir, []string{"GOFLAGS=-mod=mod"}, "go", "mod", "vendor")
	for _, mode := range []string{"mod", "vendor"} {
		t.Run("an_archive_of_all_packages_builds_with_mod="+mode, func(t *testing.T) {
			env := []string{"GOFLAGS=-buildvcs=false -mod=" + mode}
			mustRun(t, dir, env, "go", "build", "-buildmode=c-archive", "-o", "lib"+mode+".a", ".")
			root := here
			if mode == "vendor" {
				root = filepath.Join(dir, "vendor", module)
			}
			mustRun(t, dir, nil, need(t, "gcc"), "-std=gnu11", "-Wall", "-Werror", "-I"+root, "-I"+root+"/hosts", "-x", "c", "host.c_", "-x", "none",
				"lib"+mode+".a", "-pthread", "-o", "host-"+mode)
			mustRun(t, dir, nil, "./host-"+mode)
		})
	}
}

func TestAModuleThatTakesThisOneAsAZipBuildsAndRuns(t *testing.T) {
	needCgo(t)
	readModule(t)
	const version = "v0.0.1"
	proxy, dir := t.TempDir(), t.TempDir()
	at := filepath.Join(proxy, module, "@v")
	require.NoError(t, os.MkdirAll(at, 0o755))
	gomod, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	write(t, at, map[string]string{
		"list": version + "\n", version + ".mod": string(gomod),
		version + ".info": `{"Version":"` + version + `","Time":"2026-01-01T00:00:00Z"}`,
	})
	zipModule(t, filepath.Join(at, version+".zip"), module+"@"+version)
	write(t, dir, map[string]string{
		"main.go": consumer,
		"go.mod":  "module example.com/consumer\n\ngo 1.26\n\nrequire " + module + " " + version + "\n",
	})
	theirs := strings.TrimSpace(mustRun(t, dir, nil, "go", "env", "GOPROXY"))
	out := mustRun(t, dir, []string{
		"GOPROXY=file://" + proxy + "," + theirs, "GONOSUMDB=" + module, "GONOSUMCHECK=1", "GOFLAGS=-mod=mod -modcacherw",
		"GOMODCACHE=" + filepath.Join(t.TempDir(), "cache"),
	}, "go", "run", ".")
	require.Contains(t, out, "Result: 42\n") // after what the go command says of its download
}

// zipModule writes what a module proxy would serve of the files here.
func zipModule(t *testing.T, path, prefix string) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	z := zip.NewWriter(f)
	defer z.Close()
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != "." && (strings.HasPrefix(name, ".") || name == "target" || name == "build") {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		w, err := z.Create(prefix + "/" + filepath.ToSlash(path))
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	}))
}

func TestGoVetFindsACopiedWakerAndACopiedContext(t *testing.T) {
	readModule(t)
	here, err := os.Getwd()
	require.NoError(t, err)
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"go.mod": "module example.com/consumer\n\ngo 1.26\n\nrequire " + module + " v0.0.0\n\nreplace " + module +
			" => " + here + "\n",
		"copies.go": `package copies

import "` + module + `/rawwaker"

func Waker(w *rawwaker.Waker) any       { c := *w; return &c }
func Context(cx *rawwaker.Context) any  { c := *cx; return &c }
`,
	})
	out, err := run(t, dir, []string{"GOFLAGS=-mod=mod"}, "go", "vet", ".")
	require.Error(t, err)
	require.Contains(t, out, "copies lock value to c: github.com/seed-8a1b3254/ffiwaker/rawwaker.Waker")
	require.Contains(t, out, "copies lock value to c: github.com/seed-8a1b3254/ffiwaker/rawwaker.Context")
}

// A build with the race detector, run in children: what a user of -race sees.
func TestTheRaceDetectorSeesARacyFutureAndNoOther(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs 210 programs")
	}
	needCgo(t)
	readModule(t)
	read(t, "internal/test/racy/main.go", "internal/test/racy/c.go", "internal/test/ctest/ctest.c", "internal/test/ctest/ctest.go")
	racy := filepath.Join(t.TempDir(), "racy")
	if out, err := run(t, ".", nil, "go", "build", "-race", "-o", racy, "./internal/test/racy"); err != nil {
		if strings.Contains(out, "-race") {
			t.Skip("no race detector here: " + out)
		}
		require.NoError(t, err, out)
	}
	for _, mode := range []struct {
		name string
		runs int
		racy bool
	}{{"late", 10, true}, {"correct", 100, false}, {"correct-c", 100, false}} {
		t.Run(mode.name, func(t *testing.T) {
			var wg sync.WaitGroup
			var mu sync.Mutex
			slots := make(chan struct{}, runtime.GOMAXPROCS(0))
			reported := 0
			for range mode.runs {
				slots <- struct{}{}
				wg.Go(func() {
					defer func() { <-slots }()
					out, err := run(t, ".", []string{"GORACE=atexit_sleep_ms=0"}, racy, mode.name)
					mu.Lock()
					defer mu.Unlock()
					if strings.Contains(out, "WARNING: DATA RACE") {
						reported++
					} else if err != nil {
						t.Errorf("%v: %s", err, out)
					}
				})
			}
			wg.Wait()
			want := 0
			if mode.racy {
				want = mode.runs
			}
			require.Equal(t, want, reported, "of %d runs", mode.runs)
		})
	}
}

// The library and Go's runtime read these variables before main, where the test cache does not see it: a lane that sets one of them would be answered
// from a plain run of the same code.
func TestALaneThatSetsAVariableOfTheProcessRunsUncached(t *testing.T) {
	lanes := 0
	for _, file := range []string{".ci/run", "Makefile"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, line := range strings.Split(string(text), "\n") {
			if regexp.MustCompile(`\b(FFIWAKERDEBUG|FFIWAKER_SOAK|GOGC|GODEBUG)=.*(go|\$\(GO\)) test\b`).MatchString(line) {
				lanes++
				require.Contains(t, line, " -count=1 ", "%s: %s", file, line)
			}
		}
	}
	require.GreaterOrEqual(t, lanes, 5)
}
