"""Adam by one operation a variable: Keras makes a dozen small ones, which cost large networks of small layers time."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("keras_genzoo")
class Adam(keras.optimizers.Adam):
    """Adam of Keras (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1 in the form before section 2.1), with the same arguments.

    Example:

    >>> model.compile(Adam(1e-3, beta_1=0.5))
    """

    def update_step(self, gradient, variable, learning_rate):
        if self.amsgrad or not tf.is_tensor(gradient) or isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        variable = variable.value if isinstance(variable, keras.Variable) else variable
        step, beta_1, beta_2 = (tf.cast(each, variable.dtype) for each in (self.iterations + 1, self.beta_1, self.beta_2))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=beta_1**step,
            beta2_power=beta_2**step,
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, variable.dtype),
            grad=tf.cast(gradient, variable.dtype),
        )
