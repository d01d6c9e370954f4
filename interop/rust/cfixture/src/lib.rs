//! C's half of the tests of panics, streams and threads: `fixture.c`, `rawwaker.c` and the
//! channel. The tests
//! declare its functions with the types of the crate, on which this package cannot depend.
