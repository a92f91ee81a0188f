/* Whether this build checks the state of the core at each step (_checks.pxi); GEVLITE_DEBUG=1 in the environment of
   setup.py asks for it. Without it, the compiler removes the checks entirely. */
#ifndef GEVLITE_DEBUG
#define GEVLITE_DEBUG 0
#endif
