//! Outrace: lines from running processes and logs, live, to everyone who watches.
