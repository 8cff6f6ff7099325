from srnn.motion.adjoint import *
