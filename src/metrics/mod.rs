//! Metrics of the server: their names, and the forms in which monitoring systems take them.

mod statsd;
