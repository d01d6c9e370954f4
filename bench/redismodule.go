//go:build cgo && linux

package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// buildRedisModule builds hosts/08_redis_module, and returns the file.
var buildRedisModule = sync.OnceValues(func() (string, error) {
	for _, program := range []string{"redis-server", "redis-benchmark"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", err
		}
	}
	dir, err := benchDir()
	if err != nil {
		return "", err
	}
	hosts := filepath.Join(dir, "..", "hosts")
	const module = "build/redis_module.so"
	if text, err := exec.Command("make", "-s", "-C", hosts, module).CombinedOutput(); err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		return "", fmt.Errorf("make %s: %s", module, first)
	}
	return filepath.Abs(filepath.Join(hosts, module))
})

// redisServer is a redis-server with the module, on a socket in a folder of its own.
type redisServer struct {
	cmd *exec.Cmd
	dir string
}

func startRedis() (*redisServer, error) {
	module, err := buildRedisModule()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	s := &redisServer{dir: dir}
	s.cmd = exec.Command("redis-server", "--port", "0", "--unixsocket", s.socket(), "--save", "",
		"--dir", dir, "--logfile", filepath.Join(dir, "log"), "--loadmodule", module)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err = s.perCommand("FFI.NOOP", 1); err == nil {
			return s, nil
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			s.stop()
			return nil, fmt.Errorf("redis-server does not answer: %w\n%s", err, log)
		}
	}
}

func (s *redisServer) socket() string { return filepath.Join(s.dir, "socket") }

func (s *redisServer) stop() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
	os.RemoveAll(s.dir)
}

// perCommand lets 50 clients send n commands, and returns nanoseconds per command.
func (s *redisServer) perCommand(command string, n int) (float64, error) {
	out, err := exec.Command("redis-benchmark", "-s", s.socket(), "-c", "50",
		"-n", strconv.Itoa(n), "--csv", command).Output()
	if err != nil {
		return 0, err
	}
	rows, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil {
		return 0, err
	}
	if len(rows) != 2 || len(rows[1]) < 2 || rows[0][1] != "rps" {
		return 0, errors.New("redis-benchmark: " + string(out))
	}
	perSecond, err := strconv.ParseFloat(rows[1][1], 64)
	return 1e9 / perSecond, err
}

// redisNoop takes one sample of FFI.NOOP and one of FFI.NOOP.GO, from the same server.
func redisNoop() (ours, peer float64) {
	runtime.LockOSThread() // the server ends with the thread that has started it
	defer runtime.UnlockOSThread()
	s, err := startRedis()
	if err != nil {
		panic("bench: " + err.Error())
	}
	defer s.stop()
	sample := func(command string, n int) float64 {
		v, err := s.perCommand(command, n)
		if err != nil {
			panic("bench: " + err.Error())
		}
		return v
	}
	redisNoops++
	commands := [2]string{"FFI.NOOP", "FFI.NOOP.GO"}
	first := redisNoops % 2
	var took [2]float64
	for _, n := range []int{3000, 30_000} { // a warm-up first
		for _, i := range [2]int{first, 1 - first} {
			took[i] = sample(commands[i], n)
		}
	}
	return took[0], took[1]
}

var redisNoops int // the two sides take turns in being first

var redisModule = []figure{
	{
		name: "Redis module, no-op command, 50 clients: time per command, ns", goal: 1.2, slow: true,
		peer:    "a goroutine that calls RedisModule_UnblockClient: FFI.NOOP.GO in hosts/08_redis_module",
		prepare: func() error { _, err := buildRedisModule(); return err },
		both:    redisNoop,
	},
}
