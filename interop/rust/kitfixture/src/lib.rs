//! The conformance kit in C, for the tests: see `wakertest/c/rawwaker_test.h`. It has rawwaker.c in it, so a program links
//! either this or `gofixture`. What it exports is declared where it is used.
#![no_std]
