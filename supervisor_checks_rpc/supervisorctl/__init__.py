"""`supervisorctl health`, as far as it does not know supervisor: see controllerplugin."""
