#!/usr/bin/env bash
# Trains on several hosts over ssh.
#
#     HOSTS="node1 node2" deploy/train_on_hosts.sh --config configs/edsr_x4.json
#
# The first host writes the run folder. This folder, its Python environment and the data must have the
# same paths on all hosts. Ctrl-C saves and stops all of them; run the same command again to resume.
set -u
: "${HOSTS:?set the names of the hosts, such as HOSTS=\"node1 node2\"}"
python=$(command -v "${PYTHON:-python}") || exit # same path on each host
ssh=${SSH:-ssh -o ServerAliveInterval=15} # notices a host without power

lifelines=() workers=() index=0
for host in $HOSTS; do
  tf_config=$("$python" -m udl_tf.distributed --hosts $HOSTS --index "$index") || exit
  train=$(printf '%q ' "$python" -m udl_tf.train "$@" --set distribution.strategy=multi_worker)
  # The remote shell sends SIGTERM to its worker at the end of its standard input, which a sleep on
  # this machine keeps open. So killing the sleep stops the worker, and so does a lost connection.
  remote="cd ${PWD@Q} && export TF_CONFIG=${tf_config@Q} && exec 3<&0 && { $train & worker=\$!
    { cat <&3; kill -TERM \$worker; } >/dev/null 2>&1 & wait \$worker; }"
  exec {lifeline}< <(exec sleep infinity)
  lifelines+=($!)
  $ssh "${host%:*}" "$remote" <&"$lifeline" &
  workers+=($!)
  index=$((index + 1))
done

stop() { kill "${lifelines[@]}" 2>/dev/null; }
trap stop INT TERM EXIT
code=0 patience=${PATIENCE:-20} # seconds for the others to end by themselves after a failure
while [ ${#workers[@]} -gt 0 ]; do
  sleep 1
  left=()
  for worker in "${workers[@]}"; do
    if kill -0 "$worker" 2>/dev/null; then
      left+=("$worker")
    else
      wait "$worker" || { failed=$?; [ "$code" != 0 ] || code=$failed; }
    fi
  done
  workers=("${left[@]}")
  # Those that still wait for a worker that never started have to be stopped.
  if [ "$code" != 0 ] && [ $((patience -= 1)) = 0 ]; then stop; fi
done
exit "$code"
