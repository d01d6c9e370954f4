// Command corpus converts the corpus in testdata, which is in Go's format, to plain bytes and back.
//
//	corpus raw FOLDER            writes each program of testdata to FOLDER/TARGET.NAME
//	corpus list FILE...          lists files of plain bytes, as the C program does with -list
//	corpus add TARGET FILE...    adds files of plain bytes to testdata
//	corpus assemble TARGET NAME  adds the program that standard input lists
//
// The C program reads and writes plain bytes.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/seed-8a1b3254/ffiwaker/internal/proof/fuzz"
)

const root = "testdata/fuzz"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "raw":
		return raw(args[1])
	case len(args) > 1 && args[0] == "list":
		for _, name := range args[1:] {
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			fmt.Printf("# %s\n%s", filepath.Base(name), fuzz.Decode(data))
		}
		return nil
	case len(args) > 2 && args[0] == "add":
		for _, name := range args[2:] {
			data, err := os.ReadFile(name)
			if err == nil {
				err = add(args[1], filepath.Base(name), data)
			}
			if err != nil {
				return err
			}
		}
		return nil
	case len(args) == 3 && args[0] == "assemble":
		text, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		data, err := fuzz.Parse(string(text))
		if err != nil {
			return err
		}
		return add(args[1], args[2], data)
	}
	return errors.New("usage, in the folder of testdata: corpus raw FOLDER | list FILE... | " +
		"add TARGET FILE... | assemble TARGET NAME")
}

func add(target, name string, data []byte) error {
	dir := filepath.Join(root, target)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	text := fmt.Appendf(nil, "%s%q)\n", fuzz.Header, data)
	return os.WriteFile(filepath.Join(dir, name), text, 0o666)
}

func raw(dir string) error {
	names, err := filepath.Glob(root + "/*/*")
	if err != nil {
		return err
	}
	for _, name := range names {
		data, err := fuzz.ReadFile(name)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.Base(filepath.Dir(name))+"."+filepath.Base(name))
		if err := os.WriteFile(to, data, 0o666); err != nil {
			return err
		}
	}
	return nil
}
