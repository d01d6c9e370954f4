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

// terminal reports whether w is a terminal: only terminals get colours and progress bars.
func terminal(w io.Writer) bool {
	if o, ok := w.(*output); ok {
		w = o.w
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colourful reports whether to use colours: on a terminal, unless NO_COLOR is set
// (https://no-color.org).
func colourful(w io.Writer) bool {
	_, no := os.LookupEnv("NO_COLOR")
	return !no && terminal(w)
}

// aside writes a temporary file beside the named one and renames it when it is complete, so that no
// incomplete file is left. It writes directly to what is not a regular file, such as a device or a
// pipe.
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

// bare removes the name of a temporary file from an error.
func bare(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return l.Err
	}
	return err
}

// scratch makes a temporary folder, and a context that ends after limit or by a signal. done
// removes the folder.
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

// interruptible returns a context that ends after limit or by a signal.
func interruptible(limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(),
		os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithTimeout(ctx, limit)
	return ctx, func() {
		cancel()
		stop()
	}
}
