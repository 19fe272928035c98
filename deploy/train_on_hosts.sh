#!/usr/bin/env bash
# Trains on several hosts over ssh.
#
#     HOSTS="node1 node2" deploy/train_on_hosts.sh --config configs/edsr_x4.json
#
# The first host writes the run folder. On each, this folder, its Python environment and the data
# are under the same paths. Ctrl-C saves and stops all; the same command goes on.
set -u
: "${HOSTS:?names of the hosts, such as HOSTS=\"node1 node2\"}"
python=$(command -v "${PYTHON:-python}") || exit # the same path on each host
ssh=${SSH:-ssh -o ServerAliveInterval=15} # so that a host without power ends too

lifelines=() workers=() index=0
for host in $HOSTS; do
  tf_config=$("$python" -m udl_tf.distributed --hosts $HOSTS --index "$index") || exit
  train=$(printf '%q ' "$python" -m udl_tf.train "$@" --set distribution.strategy=multi_worker)
  # A worker stops when its standard input, which a sleep here keeps open, ends.
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
code=0 patience=20
while [ ${#workers[@]} -gt 0 ]; do
  sleep 1
  left=()
  for worker in "${workers[@]}"; do
    if kill -0 "$worker" 2>/dev/null; then
      left+=("$worker")
    else
      wait "$worker" || { ended=$?; [ "$code" != 0 ] || code=$ended; }
    fi
  done
  workers=("${left[@]}")
  # After a failure the others end by themselves, or wait in vain for one that never came.
  if [ "$code" != 0 ] && [ $((patience -= 1)) = 0 ]; then stop; fi
done
exit "$code"
