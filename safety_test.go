package ffiwaker_test

import (
	"context"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	gomodule "golang.org/x/mod/module"
	"golang.org/x/mod/zip"

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

// read makes the test depend on the files. The test cache sees only what the test itself reads, not
// what a compiler reads.
func read(t *testing.T, files ...string) {
	t.Helper()
	for _, f := range files {
		_, err := os.ReadFile(f)
		require.NoError(t, err)
	}
}

func TestLayout(t *testing.T) {
	t.Run("of_Go_equals_that_of_C", testLayout)
}

func testLayout(t *testing.T) {
	if !capi.HasCgo {
		t.Skip("no compiler of C in this build")
	}
	twins := map[string]reflect.Type{
		"rawwaker":        reflect.TypeFor[rawwaker.RawWaker](),
		"rawwaker_vtable": reflect.TypeFor[rawwaker.VTable](),
		"rawwaker_notice": reflect.TypeFor[capi.Notice](),

		"rawwaker_future":        reflect.TypeFor[rawwaker.RawFuture](),
		"rawwaker_future_vtable": reflect.TypeFor[rawwaker.FutureVTable](),
		"rawwaker_stream":        reflect.TypeFor[rawwaker.RawStream](),
		"rawwaker_stream_vtable": reflect.TypeFor[rawwaker.StreamVTable](),
	}
	for _, c := range capi.Layouts() {
		g, ok := twins[c.Name]
		if c.Name == "rawwaker_context" {
			continue // Go has no twin of it: a Context holds its waker
		}
		require.True(t, ok, "%s has no twin in Go: add it here", c.Name)
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

func TestHeader(t *testing.T) {
	t.Run("has_the_ABI_version_of_Go_and_of_the_linked_library", testABIVersion)
	t.Run("has_a_contract_line_for_each_function", testContractLines)
	t.Run("makes_a_C_program_with_rawwaker.c_alone", testTwoFiles)
	t.Run("is_C++_too", testCPlusPlus)
}

func testABIVersion(t *testing.T) {
	header, err := ffiwaker.Sources.ReadFile("rawwaker.h")
	require.NoError(t, err)
	define := fmt.Sprintf("#define RAWWAKER_ABI_VERSION %d\n", ffiwaker.ABIVersion)
	require.Contains(t, string(header), define)
	require.EqualValues(t, ffiwaker.ABIVersion, capi.LinkedABIVersion())
}

func testContractLines(t *testing.T) {
	for header, functions := range map[string]struct {
		find string
		n    int
	}{
		"rawwaker.h": {`(?s)((?:/\*[^/]*?\*/\n)?)RAWWAKER_API [^;(]*?(rawwaker_\w+)\(`, 20},
		"channel/rawwaker_channel.h": {
			`(?s)((?:/\*[^/]*?\*/\n)?)RAWWAKER_API [^;(]*?(rawwaker_\w+)\(`, 6},
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

// layers are the library's packages, lowest first: each may import those of lower layers. An entry
// that ends in a slash stands for every package below it.
var layers = [][]string{
	{"."},
	{"audit", "channel"},
	{"internal/capi"},
	{"internal/trace", "internal/wake"},
	{"rawwaker"},
	{"blockon", "executor", "future"},
	{"wakertest", "hosts/", "cmd/"},
}

// beside are the imports within a layer.
var beside = map[string][]string{
	"internal/wake": {"internal/trace"},
	"hosts/":        {"hosts/"},
	"cmd/":          {"cmd/", "wakertest"},
}

// tops are the packages that are no part of the library: they may import everything, and of the
// library only cmd/ may import them.
var tops = []string{"bench/", "examples/", "interop/", "internal/proof/", "internal/test/"}

// cgoAllowed are the only packages that may import "C", and unsafeForbidden those that must not
// import "unsafe".
var (
	cgoAllowed = []string{".", "audit", "channel", "internal/capi", "internal/test/",
		"internal/proof/", "hosts/", "interop/", "bench/", "examples/"}
	unsafeForbidden = []string{"blockon", "executor", "future", "cmd/"}
)

// covers returns the entry for pkg, or "".
func covers(entries []string, pkg string) string {
	for _, e := range entries {
		if e == pkg || strings.HasSuffix(e, "/") && strings.HasPrefix(pkg+"/", e) {
			return e
		}
	}
	return ""
}

// forbidden returns why package pkg must not import path, or "".
func forbidden(pkg, path string) string {
	switch path {
	case "C":
		if covers(cgoAllowed, pkg) == "" {
			return "cgo belongs in other packages"
		}
	case "unsafe":
		if covers(unsafeForbidden, pkg) != "" {
			return "unsafe is not allowed there"
		}
	}
	other := "."
	if path != module {
		var ours bool
		if other, ours = strings.CutPrefix(path, module+"/"); !ours {
			return ""
		}
	}
	layer := func(pkg string) (int, string) {
		for i, entries := range layers {
			if e := covers(entries, pkg); e != "" {
				return i, e
			}
		}
		if e := covers(tops, pkg); e != "" {
			return len(layers), e
		}
		return -1, ""
	}
	from, entry := layer(pkg)
	to, imported := layer(other)
	switch {
	case from < 0:
		return "it is in no layer"
	case to < 0:
		return "the imported package is in no layer"
	case pkg == "future" && strings.HasPrefix(other, "internal/") && other != "internal/wake": // Each
		return "future uses rawwaker's public names"
	case from == len(layers), to < from:
		return ""
	case to == len(layers) && entry == "cmd/", slices.Contains(beside[entry], imported):
		return ""
	}
	return "it is in no lower layer"
}

func TestPackage(t *testing.T) {
	t.Run("imports_only_lower_layers", func(t *testing.T) {
		packages := map[string]bool{}
		// All files, so that those of other systems and of builds without cgo are checked too.
		for _, file := range goFiles(t) {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			pkg := filepath.ToSlash(filepath.Dir(file))
			packages[pkg] = true
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			require.NoError(t, err)
			for _, spec := range parsed.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				require.NoError(t, err)
				if why := forbidden(pkg, path); why != "" {
					t.Errorf("%s must not import %s: %s", file, path, why)
				}
			}
		}
		for _, layer := range layers {
			for _, entry := range layer {
				if !strings.HasSuffix(entry, "/") {
					require.Contains(t, packages, entry, "a layer names a package that does not exist")
				}
			}
		}
	})
	t.Run("must_not_import", func(t *testing.T) { // the rule itself
		for pkg, paths := range map[string][]string{
			".":              {module + "/audit", module + "/rawwaker"},
			"audit":          {module + "/internal/capi", module + "/channel"},
			"internal/trace": {"C", module + "/internal/wake"},
			"internal/wake":  {"C", module + "/rawwaker"},
			"rawwaker":       {"C", module + "/blockon", module + "/internal/test/ctest"},
			"blockon":        {"C", "unsafe", module + "/future", module + "/wakertest"},
			"executor":       {"C", "unsafe", module + "/blockon", module + "/hosts/archive"},
			"future":         {"C", "unsafe", module + "/executor", module + "/internal/capi"},
			"wakertest":      {"C", module + "/hosts/archive", module + "/bench", module + "/cmd/wakelab"},
			"cmd/wakelab":    {"C", "unsafe"},
			"newcomer":       {module + "/rawwaker"},
			"bench":          {module + "/newcomer"},
		} {
			for _, path := range paths {
				require.NotEmpty(t, forbidden(pkg, path), "%s imports %s", pkg, path)
			}
		}
	})
}

func TestUnsafe(t *testing.T) {
	t.Run("has_a_SAFETY_comment_at_each_conversion", testSafetyComments)
}

func testSafetyComments(t *testing.T) {
	use := regexp.MustCompile(`unsafe\.Pointer\(`)
	for _, dir := range []string{".", "internal/capi", "internal/trace", "rawwaker", "internal/wake"} {
		files, _ := filepath.Glob(filepath.Join(dir, "*.go"))
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

func testTwoFiles(t *testing.T) {
	read(t, "rawwaker.h", "rawwaker.c", "internal/test/purec/host.c")
	gcc := need(t, "gcc")
	host := filepath.Join(t.TempDir(), "host")
	out := mustRun(t, ".", nil, gcc, "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I.",
		"internal/test/purec/host.c", "rawwaker.c", "-pthread", "-o", host)
	require.Empty(t, out)
	require.Equal(t, "Result: 42\n", mustRun(t, ".", nil, host))
}

func testCPlusPlus(t *testing.T) {
	read(t, "rawwaker.h", "internal/test/purec/header.cpp")
	mustRun(t, ".", nil, need(t, "g++"), "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
		"-I.", "-fsyntax-only", "internal/test/purec/header.cpp")
}

func TestDescriptors(t *testing.T) {
	t.Run("that_run_out_at_the_start_are_an_error_and_no_hang", testNoDescriptors)
}

func testNoDescriptors(t *testing.T) {
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
		out, err := run(t, ".", nil, "sh", "-c",
			fmt.Sprintf("exec 3>&- 4>&- 5>&-; ulimit -n %d; exec %s correct-c", n, racy))
		if worked = worked || err == nil; err != nil {
			require.False(t, worked, "with %d descriptors, but not with %d: %s", n-1, n, out)
			require.Contains(t, out,
				"rawwaker: ffiwaker: no descriptor for wakes from C: too many open files", "%d", n)
		}
	}
	require.True(t, worked)
}

// consumer is a program of another module.
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

// consumerModule is the go.mod of a module that uses this checkout.
func consumerModule(t *testing.T) string {
	t.Helper()
	here, err := os.Getwd()
	require.NoError(t, err)
	return "module example.com/consumer\n\ngo 1.26\n\nrequire " + module + " v0.0.0\n\n" +
		"replace " + module + " => " + here + "\n"
}

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
	for _, pattern := range []string{"*.go", "rawwaker.*", "audit/*", "internal/capi/*", "hosts/*.h",
		"hosts/archive/*", "internal/trace/*.go", "internal/wake/*.go", "rawwaker/*.go", "blockon/*.go",
		"executor/*.go", "future/*.go"} {
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

func TestConsumer(t *testing.T) {
	t.Run("builds_from_a_vendored_copy", testVendored)
	t.Run("links_an_archive_of_all_packages", testArchive)
	t.Run("builds_from_the_zip_of_a_proxy", testZip)
	t.Run("compiles_again_what_includes_an_edited_header", testEditedHeader)
}

func testVendored(t *testing.T) {
	needCgo(t)
	readModule(t)
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"main.go": consumer,
		"go.mod":  consumerModule(t),
	})
	mustRun(t, dir, []string{"GOFLAGS=-mod=mod"}, "go", "mod", "tidy")
	mustRun(t, dir, []string{"GOFLAGS=-mod=mod"}, "go", "mod", "vendor")
	require.FileExists(t, filepath.Join(dir, "vendor", module, "rawwaker.c"))
	require.FileExists(t, filepath.Join(dir, "vendor", module, "rawwaker.h"))
	out := mustRun(t, dir, []string{"GOFLAGS=-mod=vendor"}, "go", "run", ".")
	require.Equal(t, "Result: 42\n", out)
}

// A vendored copy has a header that is included from another folder only if a Go package embeds it.
func testArchive(t *testing.T) {
	needCgo(t)
	readModule(t)
	here, err := os.Getwd()
	require.NoError(t, err)
	library := "package main\n\nimport \"C\"\n\nimport (\n"
	listed := mustRun(t, ".", nil,
		"go", "list", "-f", `{{if ne .Name "main"}}{{.ImportPath}}{{end}}`, "./...")
	for _, pkg := range strings.Fields(listed) {
		if !strings.Contains(pkg, "/internal/") {
			library += "\t_ \"" + pkg + "\"\n"
		}
	}
	require.Contains(t, library, module+"/hosts/archive")
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"main.go": library + ")\n\nfunc main() {}\n",
		"host.c_": "#include \"ffiwaker.h\"\n" +
			"int main(void) { return rawwaker_block_on(ffiwaker_sleep(1), 0); }\n",
		"go.mod": consumerModule(t),
	})
	mustRun(t, dir, []string{"GOFLAGS=-mod=mod"}, "go", "mod", "tidy")
	mustRun(t, dir, []string{"GOFLAGS=-mod=mod"}, "go", "mod", "vendor")
	for _, mode := range []string{"mod", "vendor"} {
		t.Run("mod="+mode, func(t *testing.T) {
			env := []string{"GOFLAGS=-buildvcs=false -mod=" + mode}
			mustRun(t, dir, env, "go", "build", "-buildmode=c-archive", "-o", "lib"+mode+".a", ".")
			root := here
			if mode == "vendor" {
				root = filepath.Join(dir, "vendor", module)
			}
			mustRun(t, dir, nil, need(t, "gcc"), "-std=gnu11", "-Wall", "-Werror", "-I"+root,
				"-I"+root+"/hosts", "-x", "c", "host.c_", "-x", "none", "lib"+mode+".a", "-pthread",
				"-o", "host-"+mode)
			mustRun(t, dir, nil, "./host-"+mode)
		})
	}
}

func testZip(t *testing.T) {
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
	zipModule(t, filepath.Join(at, version+".zip"), version)
	write(t, dir, map[string]string{
		"main.go": consumer,
		"go.mod":  "module example.com/consumer\n\ngo 1.26\n\nrequire " + module + " " + version + "\n",
	})
	theirs := strings.TrimSpace(mustRun(t, dir, nil, "go", "env", "GOPROXY"))
	out := mustRun(t, dir, []string{
		"GOPROXY=file://" + proxy + "," + theirs, "GONOSUMDB=" + module, "GONOSUMCHECK=1",
		"GOFLAGS=-mod=mod -modcacherw", "GOMODCACHE=" + filepath.Join(t.TempDir(), "cache"),
	}, "go", "run", ".")
	require.Contains(t, out, "Result: 42\n") // after what the go command says of its download
}

// zipModule writes what a module proxy serves of the files here.
func zipModule(t *testing.T, to, version string) {
	t.Helper()
	dir := t.TempDir()
	copyModule(t, dir)
	write(t, dir, map[string]string{
		"examples/nested/go.mod":    "module example.com/nested\n",
		"examples/nested/nested.go": "package nested\n",
	})
	f, err := os.Create(to)
	require.NoError(t, err)
	require.NoError(t, zip.CreateFromDir(f, gomodule.Version{Path: module, Version: version}, dir))
	require.NoError(t, f.Close())
	checked, err := zip.CheckZip(gomodule.Version{Path: module, Version: version}, to)
	require.NoError(t, err)
	require.NoError(t, checked.Err())
	prefix := module + "@" + version + "/"
	require.Contains(t, checked.Valid, prefix+"rawwaker.c")
	require.NotContains(t, checked.Valid, prefix+"examples/nested/nested.go",
		"a nested module has a zip of its own")
}

// copyModule copies the files that git has or would add.
func copyModule(t *testing.T, to string) {
	t.Helper()
	need(t, "git")
	listed, err := run(t, ".", nil, "git", "ls-files", "-z", "-c", "-o", "--exclude-standard")
	if err != nil {
		t.Skip("no checkout: " + listed)
	}
	for file := range strings.SplitSeq(strings.TrimSuffix(listed, "\x00"), "\x00") {
		info, err := os.Lstat(file)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			continue
		}
		require.NoError(t, err)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		path := filepath.Join(to, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, text, info.Mode().Perm()))
	}
}

// goFiles lists the module's Go files, for every system, without those of nested modules.
func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." {
			others := []string{"testdata", "vendor", "target", "build", "node_modules"}
			if name := d.Name(); name[0] == '.' || name[0] == '_' || slices.Contains(others, name) {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return filepath.SkipDir
			}
		}
		if strings.HasSuffix(path, ".go") {
			files = append(files, path)
		}
		return nil
	}))
	require.NotEmpty(t, files)
	return files
}

// Go's build cache does not see an edit of a header in another folder (golang/go#24355), and go mod
// vendor leaves such a header out, unless the package imports the package that embeds the header.
func testEditedHeader(t *testing.T) {
	t.Run("whose_package_each_package_that_includes_it_imports", func(t *testing.T) {
		embeds, imports, sources := map[string]string{}, map[string][]string{}, map[string][]string{}
		embed := regexp.MustCompile(`(?m)^//go:embed (.*)$`)
		for _, file := range goFiles(t) {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			folder := filepath.Dir(file)
			for _, line := range embed.FindAllSubmatch(text, -1) {
				for _, name := range strings.Fields(string(line[1])) {
					embeds[filepath.Join(folder, name)] = path.Join(module, filepath.ToSlash(folder))
				}
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			require.NoError(t, err)
			for _, spec := range parsed.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				require.NoError(t, err)
				if imported == "C" {
					sources[folder] = append(sources[folder], file)
				}
				imports[folder] = append(imports[folder], imported)
			}
		}
		require.Equal(t, module, embeds["rawwaker.h"])
		require.GreaterOrEqual(t, len(sources), 10)
		for folder, files := range sources {
			c, err := filepath.Glob(filepath.Join(folder, "*.c"))
			require.NoError(t, err)
			for _, header := range included(t, folder, append(files, c...)) {
				switch pkg := embeds[header]; {
				case filepath.Dir(header) == folder:
				case pkg == "":
					t.Errorf("%s includes %s, which no package embeds", folder, header)
				case !slices.Contains(imports[folder], pkg):
					t.Errorf("%s includes %s and does not import %s", folder, header, pkg)
				}
			}
		}
	})
	t.Run("into_internal/capi", func(t *testing.T) {
		needCgo(t)
		readModule(t)
		dir := t.TempDir()
		copyModule(t, dir)
		build := func() string { // of this, the part before the slash is a hash of all that was compiled
			return mustRun(t, dir, nil, "go", "list", "-export", "-f", "{{.BuildID}}", "./internal/capi")
		}
		last := build()
		require.Equal(t, last, build())
		for _, header := range []string{"rawwaker.h", "audit/rawwaker_audit.h"} {
			file := filepath.Join(dir, header)
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(file, append(text, "/* edited */\n"...), 0o644))
			id := build()
			require.NotEqual(t, strings.Split(last, "/")[0], strings.Split(id, "/")[0], header)
			last = id
		}
	})
}

// included lists the headers of the module that files include, by themselves or by another header.
func included(t *testing.T, folder string, files []string) []string {
	t.Helper()
	include := regexp.MustCompile(`(?m)^(?://)?\s*#\s*include "([^"]+)"`)
	folders := []string{folder, ".", "audit", "channel", "hosts", "internal/capi", "wakertest/c"}
	var found []string
	for len(files) > 0 {
		text, err := os.ReadFile(files[0])
		require.NoError(t, err)
		for _, m := range include.FindAllStringSubmatch(string(text), -1) {
			for _, dir := range append([]string{filepath.Dir(files[0])}, folders...) {
				header := filepath.Join(dir, m[1])
				if _, err := os.Stat(header); err != nil {
					continue
				}
				if !slices.Contains(found, header) {
					found = append(found, header)
					files = append(files, header)
				}
				break
			}
		}
		files = files[1:]
	}
	return found
}

func TestVet(t *testing.T) {
	t.Run("finds_a_copied_Waker_and_a_copied_Context", testCopies)
}

func testCopies(t *testing.T) {
	readModule(t)
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"go.mod": consumerModule(t),
		"copies.go": `package copies

import "` + module + `/rawwaker"

func Waker(w *rawwaker.Waker) any       { c := *w; return &c }
func Context(cx *rawwaker.Context) any  { c := *cx; return &c }
`,
	})
	out, err := run(t, dir, []string{"GOFLAGS=-mod=mod"}, "go", "vet", ".")
	require.Error(t, err)
	require.Contains(t, out, "copies lock value to c: "+module+"/rawwaker.Waker")
	require.Contains(t, out, "copies lock value to c: "+module+"/rawwaker.Context")
}

// A build with the race detector, run in child processes: what a user of -race sees.
func TestRaceDetector(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs 210 programs")
	}
	needCgo(t)
	readModule(t)
	read(t, "internal/test/racy/main.go", "internal/test/racy/c.go", "internal/test/ctest/ctest.c",
		"internal/test/ctest/ctest.go")
	racy := filepath.Join(t.TempDir(), "racy")
	out, err := run(t, ".", nil, "go", "build", "-race", "-o", racy, "./internal/test/racy")
	if err != nil {
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
