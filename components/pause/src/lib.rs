//! kinit-pause
