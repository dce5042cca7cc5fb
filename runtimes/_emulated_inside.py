"""The script that turns an emulated device's files into a running device, in namespaces of its own."""

# Run by bash as the first process of new user, mount, process and host-name namespaces. Arguments: the files, a folder
# to mount on, a folder whose content is put over the files, QEMU, its core, the wheels of the runtimes or nothing.
# Everything that it mounts or registers is the namespaces' own and ends with them; what the device writes is kept in
# memory. It ends when its standard input does, which is when edgewright ends, however that happens.
INSIDE = r"""
set -eu
umask 022
trap 'exit 143' TERM
exec 3<&0
echo ready
read -r _ <&3 # the ids are mapped now
root=$1 mount=$2 over=$3 qemu=$4 core=$5 wheels=$6

hostname raspberrypi
mount -t proc proc /proc
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
magic='\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
# F: QEMU is opened now, by its path on this host, and need not be among the device's files.
printf '%s' ":qemu-aarch64:M::$magic:$mask:$qemu:OPF" >/proc/sys/fs/binfmt_misc/register

mount -t tmpfs -o mode=755 tmpfs "$mount"
mkdir "$mount/upper" "$mount/work" "$mount/root"
there=$mount/root
mount -t overlay -o "userxattr,lowerdir=$root,upperdir=$mount/upper,workdir=$mount/work" overlay "$there"
cp -RL "$over/." "$there/"
chown -R 1000:1000 "$there/home/pi"

mount -t proc proc "$there/proc"
for file in cpuinfo meminfo; do mount --bind "$there/etc/emulated/$file" "$there/proc/$file"; done
mount -t tmpfs -o mode=755 tmpfs "$there/dev"
for node in null zero full random urandom tty; do
  touch "$there/dev/$node"
  mount --bind "/dev/$node" "$there/dev/$node"
done
mkdir "$there/dev/pts" "$there/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$there/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$there/dev/shm"
ln -s pts/ptmx "$there/dev/ptmx"
ln -s /proc/self/fd "$there/dev/fd"
for stream in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${stream%:*}" "$there/dev/${stream#*:}"; done
if [[ -n $wheels ]]; then
  mount --bind "$wheels" "$there/opt/runtimes"
  mount -o remount,bind,ro "$there/opt/runtimes"
fi

env -i "QEMU_CPU=$core" "$(command -v chroot)" "$there" /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config 3<&- &
cat <&3 >/dev/null &
wait -n
"""
