//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-8a1b3254/ffiwaker/internal/proof/tool"
)

var measuredC = []string{"rawwaker.c", "channel/rawwaker_channel.c"}

// programs are the pure C tests, with their deaths. The first of a file decides which regions the
// file has: those that include it with other macros have others.
var programs = []struct {
	name    string
	sources string
	flags   string
	arg     string
}{
	{"unit", "internal/test/purec/unit.c rawwaker.c", refusing, ""},
	{"senders", "internal/test/purec/senders.c rawwaker.c", refusing, "20000"},
	{"jobs", "internal/test/purec/jobs.c rawwaker.c", refusing, "10000"},
	{"stress", "internal/test/purec/stress.c rawwaker.c", "", "2000 1"},
	{"races", "internal/test/purec/races.c rawwaker.c", "", "4000"},
	{"gaps", "internal/test/purec/gaps.c", atomics, ""},
	{"system", "internal/proof/faults/system.c rawwaker.c", wrapped("eventfd pipe write read " +
		"close pthread_create sem_init sem_wait sem_post"), ""},
	{"fork", "internal/proof/faults/fork.c rawwaker.c", "", "50"},
	{"exits", "internal/proof/faults/exits.c rawwaker.c", "", "60"},
	{"channel", "internal/test/purec/channel.c channel/rawwaker_channel.c rawwaker.c", refusing,
		"20000 1"},
	{"channel_kit", "internal/test/purec/channel_kit.c wakertest/c/rawwaker_test.c " +
		"channel/rawwaker_channel.c rawwaker.c", "", ""},
	{"channel_gaps", "internal/test/purec/channel_gaps.c rawwaker.c", atomics, ""},
	{"kit", "wakertest/c/own.c wakertest/c/rawwaker_test.c rawwaker.c", "", ""},
}

// atomics are the names that clang has for what gap.h calls by those of gcc.
const atomics = "-D__atomic_load_n=__c11_atomic_load -D__atomic_store_n=__c11_atomic_store " +
	"-D__atomic_exchange_n=__c11_atomic_exchange -D__atomic_fetch_add=__c11_atomic_fetch_add " +
	"-D__atomic_fetch_sub=__c11_atomic_fetch_sub -D__atomic_fetch_or=__c11_atomic_fetch_or " +
	"-D__atomic_fetch_and=__c11_atomic_fetch_and -D__atomic_compare_exchange_n(p,e,v,w,o,f)=" +
	"__c11_atomic_compare_exchange_strong(p,e,v,o,f)"

const refusing = "-Wl,--wrap=malloc -Wl,--wrap=calloc"

func wrapped(functions string) string {
	return "-Wl,--wrap=" + strings.Join(strings.Fields(functions), " -Wl,--wrap=")
}

// exported is what llvm-cov export prints.
type exported struct {
	Data []struct {
		Functions []struct {
			Filenames []string
			Regions   [][8]int // line, column, to, end, count, file, expanded file, kind
		}
	}
}

func measureC(dir string) measured {
	here, err := os.Getwd()
	tool.Check(err)
	found := make([]map[place]int, len(programs))
	each(programs, func(i int, p struct{ name, sources, flags, arg string }) {
		program := filepath.Join(dir, p.name)
		flags := "-std=gnu11 -O1 -g -w -fprofile-instr-generate -fcoverage-mapping " +
			"-fprofile-update=atomic " + // else a lost count makes a region of the difference
			"-mllvm -runtime-counter-relocation -I. -Ichannel -Iwakertest/c " + p.flags + " " +
			p.sources + " -pthread -o " + program
		if out, err := exec.Command("clang", strings.Fields(flags)...).CombinedOutput(); err != nil {
			fatal("clang "+flags, out, err)
		}
		cmd := exec.Command(program, strings.Fields(p.arg)...)
		cmd.Env = append(os.Environ(), "LLVM_PROFILE_FILE="+program+"-%p%c.profraw")
		if out, err := cmd.CombinedOutput(); err != nil {
			fatal(p.name+" "+p.arg, out, err)
		}
		profiles, err := filepath.Glob(program + "-*.profraw")
		tool.Check(err)
		arg := append([]string{"merge", "-sparse", "-o", program + ".profdata"}, profiles...)
		if out, err := exec.Command("llvm-profdata", arg...).CombinedOutput(); err != nil {
			fatal("llvm-profdata", out, err)
		}
		text, err := exec.Command("llvm-cov", "export", program,
			"-instr-profile="+program+".profdata").Output()
		if err != nil {
			fatal("llvm-cov", text, err)
		}
		var e exported
		tool.Check(json.Unmarshal(text, &e))
		found[i] = map[place]int{}
		for _, d := range e.Data {
			for _, f := range d.Functions {
				for _, r := range f.Regions {
					file, err := filepath.Rel(here, abs(here, f.Filenames[r[5]]))
					if err != nil || r[7] != 0 {
						continue
					}
					found[i][place{file, r[0], r[1], r[2], r[3]}] += r[4]
				}
			}
		}
	})
	m := measured{}
	for _, file := range measuredC {
		first := true
		for i, p := range programs {
			if first && !slices.Contains(strings.Fields(p.sources), file) {
				continue
			}
			for at, count := range found[i] {
				if at.file == file && (first || m[at] != nil) {
					m.add(at, 1, min(count, 1))
				}
			}
			first = false
		}
		if first {
			tool.Check(fmt.Errorf("no program has %s", file))
		}
	}
	return m
}

func abs(here, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(here, file)
}
