from srnn.motion.gradients import *
