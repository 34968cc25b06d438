//! kinit-etcd
