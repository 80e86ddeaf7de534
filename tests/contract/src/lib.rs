//! The lines that programs which embed the library are written with. They must go on compiling and
//! working with exactly the features named. See `tests/`.
