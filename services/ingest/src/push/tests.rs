//! What somebody who pushes sees: real HTTP to a real listener, and the log behind it.
