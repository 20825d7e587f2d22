//! A mend for librdkafka 2.12, which reads memory that it has not written when a broker comes back, and then ends the
//! process (confluentinc/librdkafka#5280). An answer to a fetch may name a leader for some of the partitions that have
//! lost theirs, and say "none" for the others; those are counted, and never filled in. The linker calls us in place of
//! the function that makes room for them, where a package's build script tells it to; elsewhere nothing of this is used.

use rdkafka::bindings as sys;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;

// What is not there without the linker's help may be missing.
std::arch::global_asm!(".weak __real_rd_kafkap_leader_discovery_set_topic");

/// A topic's id, as librdkafka hands it over: by value.
#[repr(C)]
struct TopicId {
    halves: [i64; 2],
    text: [c_char; 23],
}

unsafe extern "C" {
    fn rd_kafkap_leader_discovery_set_topic(
        room: *mut c_void,
        found: *mut sys::rd_kafka_metadata_t,
        index: c_int,
        id: TopicId,
        name: *mut c_char,
        partitions: c_int,
    );
    fn __real_rd_kafkap_leader_discovery_set_topic(
        room: *mut c_void,
        found: *mut sys::rd_kafka_metadata_t,
        index: c_int,
        id: TopicId,
        name: *mut c_char,
        partitions: c_int,
    );
}

/// Makes room for the leaders of a topic's partitions, and says of each that there is no such partition, until it is
/// filled in: such a one is passed over.
///
/// # Safety
/// As librdkafka calls it. What is found begins with what is public of it.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_rd_kafkap_leader_discovery_set_topic(
    room: *mut c_void,
    found: *mut sys::rd_kafka_metadata_t,
    index: c_int,
    id: TopicId,
    name: *mut c_char,
    partitions: c_int,
) {
    // SAFETY: handed on as it came; then there are so many partitions, which nobody has filled in yet.
    unsafe {
        __real_rd_kafkap_leader_discovery_set_topic(room, found, index, id, name, partitions);
        let topic = (*found).topics.add(index as usize);
        for partition in 0..partitions as usize {
            (*(*topic).partitions.add(partition)).id = c_int::MAX;
        }
    }
}

/// Whoever starts a client has it linked.
pub(in crate::kafka) fn linked() {
    std::hint::black_box(__wrap_rd_kafkap_leader_discovery_set_topic as *const ());
}

/// librdkafka's buffer to allocate from.
#[repr(C)]
struct Room {
    size: usize,
    used: usize,
    bytes: *mut u64,
    failed: c_int,
    strict: u8,
}

/// What is public of what is found, and then what librdkafka has of it besides.
#[repr(C)]
struct Found {
    public: sys::rd_kafka_metadata_t,
    brokers: [*mut c_void; 2],
    topics: *mut [u64; 16],
}

/// The librdkafka whose function it is, 2.12.1: look at another's before it is let in here.
const VERSION: c_int = 0x02_0c_01_ff;

/// Whether this program is linked with the mend: makes room for three partitions as librdkafka does, in memory that is
/// not empty, and looks what they are.
pub(in crate::kafka) fn mended() -> bool {
    // SAFETY: gives a number.
    if unsafe { sys::rd_kafka_version() } != VERSION {
        return false;
    }
    let (mut bytes, mut inner) = ([u64::MAX / 3; 512], [0; 16]);
    let (size, bytes) = (size_of_val(&bytes), bytes.as_mut_ptr());
    let mut room = Room { size, used: 0, bytes, failed: 0, strict: 1 };
    // SAFETY: plain C structures, for which zeros are "not set". The one topic is written to, and so is what is kept of
    // it besides, which is shorter than the place for it; there is room for more than three partitions.
    unsafe {
        let mut topic: sys::rd_kafka_metadata_topic = std::mem::zeroed();
        let mut public: sys::rd_kafka_metadata_t = std::mem::zeroed();
        public.topics = &raw mut topic;
        let mut found = Found { public, brokers: [null_mut(); 2], topics: &raw mut inner };
        let (room, found) = ((&raw mut room).cast(), (&raw mut found).cast());
        let id = TopicId { halves: [0; 2], text: [0; 23] };
        rd_kafkap_leader_discovery_set_topic(room, found, 0, id, null_mut(), 3);
        std::slice::from_raw_parts(topic.partitions, 3).iter().all(|one| one.id == c_int::MAX)
    }
}
