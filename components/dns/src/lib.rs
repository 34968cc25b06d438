//! kinit-dns
