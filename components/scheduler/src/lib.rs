//! kinit-scheduler
