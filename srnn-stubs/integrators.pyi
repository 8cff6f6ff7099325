from srnn.motion.integrators import *
