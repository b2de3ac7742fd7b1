/* The kernels' element type is double. */
#define real double
#define FR_TYPE f64
#define whole uint64_t     /* its bits, */
#define WHOLE_OF bits64_of /* and how to read them (exp.h) */
#define WHOLE UINT64_MAX
#define FR_BYTES 8
#define SQRT sqrt
#define FABS fabs
#define FN(name) name##_f64 /* the elementary functions over it */
/* Sizes whose squares are near the ends of the range, and the units that take them to its middle.
 */
#define LARGE 0x1p500
#define SMALL 0x1p-400
#define LARGE_UNIT 0x1p-600
#define SMALL_UNIT 0x1p700
#define SMALLEST DBL_MIN
#define LARGEST DBL_MAX
/* Units of e^x in which it is normal down to where it is 0. */
#define EXP_POWER 256
#define ONE 0x1p256
#define EXP_LEAST -750.0
