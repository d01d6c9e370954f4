// Package server starts a PostgreSQL server of its own, on a socket in a temporary directory.
package server

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// ErrMissing is the error of New if PostgreSQL is not installed.
var ErrMissing = errors.New("PostgreSQL's server is not installed")

// Server is a server with its data.
type Server struct {
	Conninfo   string // for libpq
	dir, path  string
	credential *syscall.Credential
	cmd        *exec.Cmd
}

// find returns the path of one of the server's programs, which Debian keeps out of PATH.
func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	paths, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(paths) == 0 {
		return "", ErrMissing
	}
	return paths[len(paths)-1], nil
}

// account returns what the server runs as, because it refuses to run as root.
func account() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// command returns a command that ends with this process, and then ends what it has started.
func (s *Server) command(path string, arg ...string) *exec.Cmd {
	c := exec.Command(path, arg...)
	c.Dir = s.dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.credential, Pdeathsig: syscall.SIGQUIT}
	return c
}

// New makes a server's data and runs it. Statements give errors until it answers.
func New() (*Server, error) {
	initdb, err := find("initdb")
	if err != nil {
		return nil, err
	}
	path, err := find("postgres")
	if err != nil {
		return nil, err
	}
	credential, err := account()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		return nil, err
	}
	s := &Server{Conninfo: "host=" + dir + " user=postgres dbname=postgres", dir: dir, path: path,
		credential: credential}
	if credential != nil {
		err = os.Chown(dir, int(credential.Uid), int(credential.Gid))
	}
	if err == nil {
		var out []byte
		out, err = s.command(initdb, "-N", "-A", "trust", "-U", "postgres", "-E", "UTF8",
			"--locale=C", "-D", "data").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err == nil {
		err = s.Run()
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return s, nil
}

// Run runs the server again, after Kill.
func (s *Server) Run() error {
	s.cmd = s.command(s.path, "-D", "data", "-k", s.dir, "-c", "listen_addresses=",
		"-c", "fsync=off", "-c", "max_connections=200", "-c", "logging_collector=on")
	return s.cmd.Start()
}

// Kill ends the server at once, and its statements with errors.
func (s *Server) Kill() {
	s.cmd.Process.Signal(syscall.SIGQUIT)
	s.cmd.Wait()
}

// Remove kills the server and removes its data.
func (s *Server) Remove() {
	s.Kill()
	os.RemoveAll(s.dir)
}
