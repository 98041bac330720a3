"""What a facility or a grid bridge sends: budgets and events, said once or again and again."""
