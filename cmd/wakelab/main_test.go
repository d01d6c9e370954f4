package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// lab runs the program in this process.
func lab(args ...string) (stdout, stderr string, status int) {
	var out, err bytes.Buffer
	status = run(args, &out, &err)
	return out.String(), err.String(), status
}

func TestHelpListsEveryCommand(t *testing.T) {
	for _, arg := range []string{"help", "--help", "-help", "-h"} {
		out, errs, status := lab(arg)
		require.Zero(t, status)
		require.Empty(t, errs)
		for _, c := range commands() {
			require.Contains(t, out, "  "+c.name+" ")
			require.Contains(t, out, c.does)
		}
		fits(t, out)
	}
}

func TestAnUnknownCommandIsToldTheNearestOne(t *testing.T) {
	for given, near := range map[string]string{"layuot": "layout", "Tour": "tour", "--hlep": "help", "": "tour", "lay": "layout"} {
		out, errs, status := lab(given)
		require.Equal(t, 2, status)
		require.Empty(t, out)
		require.Equal(t, 1, strings.Count(errs, "\n"))
		require.Contains(t, errs, `did you mean "`+near+`"?`)
	}
}

func TestArgumentsThatNobodyReadsAreRefused(t *testing.T) {
	out, errs, status := lab("layout", "please")
	require.Equal(t, 2, status)
	require.Empty(t, out)
	require.Equal(t, "wakelab: layout takes no arguments\n", errs)
}

func TestAWriteThatFailsIsReported(t *testing.T) {
	var errs bytes.Buffer
	require.Equal(t, 1, run([]string{"help"}, full{}, &errs))
	require.Equal(t, "wakelab: help: disk full\n", errs.String())
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func fits(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		require.LessOrEqual(t, utf8.RuneCountInString(line), 100, line)
		require.Equal(t, strings.TrimRight(line, " \t"), line)
	}
}
