//! The conformance kit in C (`wakertest/c/rawwaker_test.h`), for the tests. It contains
//! `rawwaker.c`, so a program links either this or `gofixture`. Its functions are declared where
//! they are used.
#![no_std]
