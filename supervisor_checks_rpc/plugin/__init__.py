"""What runs inside supervisord: nothing here blocks, starts a thread, or lets an exception out."""
