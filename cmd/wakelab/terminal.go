package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/term"
)

// terminal says whether w is one: only those get colours and progress bars.
func terminal(w io.Writer) bool {
	if o, ok := w.(*output); ok {
		w = o.w
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colourful is terminal where nobody has asked for no colours: https://no-color.org
func colourful(w io.Writer) bool {
	_, no := os.LookupEnv("NO_COLOR")
	return !no && terminal(w)
}

// aside writes a file beside its place and puts it there when it is whole, so that nothing half-written is left behind. What is no file of a disk, a
// device or a pipe, is written to.
func aside(name string, write func(io.Writer) error) error {
	place := name
	if real, err := filepath.EvalSymlinks(name); err == nil {
		place = real
	}
	switch info, err := os.Stat(place); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case err == nil && info.IsDir():
		return fmt.Errorf("%s is a folder", name)
	case err == nil && !info.Mode().IsRegular():
		f, err := os.OpenFile(place, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(place), ".wakelab-*")
	if err != nil {
		return fmt.Errorf("%s: %w", name, bare(err))
	}
	err = write(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), place)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("%s: %w", name, bare(err))
	}
	return nil
}

// bare is an error without the name of a file that nobody has asked for.
func bare(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return l.Err
	}
	return err
}

// scratch is a folder for a while, and a context that ends with limit or a signal; done removes the folder.
func scratch(limit time.Duration) (ctx context.Context, dir string, done func(), err error) {
	if dir, err = os.MkdirTemp("", "wakelab"); err != nil {
		return nil, "", nil, err
	}
	ctx, stop := interruptible(limit)
	return ctx, dir, func() {
		stop()
		os.RemoveAll(dir)
	}, nil
}

// interruptible is a context that ends with limit or a signal.
func interruptible(limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithTimeout(ctx, limit)
	return ctx, func() {
		cancel()
		stop()
	}
}
