package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDebug(t *testing.T) {
	t.Run("is_not_obeyed_with_more_rights_than_the_caller", debugWithMoreRights)
	t.Run("is_what_the_host_has_set_before_dlopen", debugSetBeforeDlopen)
}

// A program with more rights than its caller ignores the caller's FFIWAKERDEBUG: it writes no file
// and wraps nothing.
func debugWithMoreRights(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to give rights away")
	}
	dir, err := os.MkdirTemp("", "wakelab") // other users may not enter t.TempDir
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o777))
	exe, file := filepath.Join(dir, "wakelab"), filepath.Join(dir, "trace")
	for _, cgo := range []string{"1", "0"} {
		give := func(t *testing.T) {
			t.Helper()
			cmd := exec.Command("go", "build", "-o", exe, ".")
			cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.NoError(t, os.Chmod(exe, 0o755))
		}
		run := func(t *testing.T, debug string) (said string, wrote bool) {
			t.Helper()
			cmd := exec.Command(exe, "demo", "simple", "0")
			cmd.Env = []string{"FFIWAKERDEBUG=" + debug}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Skipf("it cannot be run as another user: %v: %s", err, out)
			}
			err = os.Remove(file)
			return string(out), err == nil
		}
		refuses := func(t *testing.T) {
			t.Helper()
			said, wrote := run(t, "trace="+file)
			require.False(t, wrote)
			require.Contains(t, said, "FFIWAKERDEBUG: not obeyed: ")
			require.Contains(t, said, "Result: 42")
			said, _ = run(t, "nonsense=1")
			require.NotContains(t, said, "nonsense")
			said, _ = run(t, "")
			require.NotContains(t, said, "FFIWAKERDEBUG")
		}
		t.Run("cgo="+cgo+"/a_program_of_the_caller's_obeys", func(t *testing.T) {
			give(t)
			said, wrote := run(t, "trace="+file)
			require.True(t, wrote, said)
		})
		t.Run("cgo="+cgo+"/set-user-ID", func(t *testing.T) {
			give(t)
			require.NoError(t, os.Chmod(exe, 0o755|os.ModeSetuid))
			out, err := exec.Command("findmnt", "-no", "OPTIONS", "-T", dir).Output()
			if err == nil && strings.Contains(string(out), "nosuid") {
				t.Skip("the file system has no set-user-ID")
			}
			refuses(t)
		})
		t.Run("cgo="+cgo+"/a_file_capability", func(t *testing.T) {
			setcap, err := exec.LookPath("setcap")
			if err != nil {
				t.Skip("no setcap")
			}
			give(t)
			out, err := exec.Command(setcap, "cap_net_bind_service+ep", exe).CombinedOutput()
			if err != nil {
				t.Skipf("setcap: %s", out)
			}
			refuses(t)
		})
	}
}

// If a C host loads the library, the value that it has set before that counts. If it is linked with
// the library, the value with which it was started counts.
func debugSetBeforeDlopen(t *testing.T) {
	needCgo(t)
	need(t, "gcc")
	dir := t.TempDir()
	library, host := filepath.Join(dir, "lib.so"), filepath.Join(dir, "host")
	source := filepath.Join(dir, "host.c")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-o", library, ".")
	build.Dir = filepath.Join("..", "..", "hosts", "lib")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.WriteFile(source, []byte(`
#include <dlfcn.h>
#include <stdlib.h>
int main(int argc, char **argv) {
  if (argc > 2) setenv("FFIWAKERDEBUG", argv[2], 1);
  void *library = dlopen(argv[1], RTLD_NOW);
  if (library == NULL) return 2;
  setenv("FFIWAKERDEBUG", "late=1", 1);
  void *(*make)(void) = (void *(*)(void))dlsym(library, "ffiwaker_executor_new");
  return make() == NULL;
}
`), 0o644))
	out, err = exec.Command("gcc", "-w", source, "-ldl", "-o", host).CombinedOutput()
	require.NoError(t, err, "%s", out)
	for i, c := range []struct{ start, set, key string }{
		{"early=1", "", "early"},
		{"", "middle=1", "middle"},
		{"early=1", "middle=1", "middle"},
		{"", "", ""},
	} {
		cmd := exec.Command(host, library)
		if c.set != "" {
			cmd.Args = append(cmd.Args, c.set)
		}
		cmd.Env = append(os.Environ(), "FFIWAKERDEBUG="+c.start)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%d: %s", i, out)
		want := ""
		if c.key != "" {
			want = fmt.Sprintf("ffiwaker: FFIWAKERDEBUG: no key %q (use audit, tasks, trace)\n", c.key)
		}
		require.Equal(t, want, string(out), i)
	}
}
